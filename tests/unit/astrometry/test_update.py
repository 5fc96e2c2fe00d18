"""States of stars from the pixels of all frames."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import fields
from romanprf.astrometry.stars import Stars
from romanprf.astrometry.update import update
from romanprf.config import Crossmatch
from romanprf.core.image import masked_image
from romanprf.core.statistics import robust_spread
from romanprf.flags import SourceFlag
from romanprf.frame.model import FrameModels
from romanprf.frame.stamps import make_stamps
from romanprf.frame.state import AS_IN_HEADER
from romanprf.prf.tensor import TensorPRF
from romanprf.schemas import ASTROMETRIC, ASTROMETRIC_ERRORS
from romanprf.sky.motion import parallax_factors, positions_at
from romanprf.sky.states import completed, covariance
from romanprf.solve.fluxes import Prior

SIDE = 60
SHAPE = (SIDE, SIDE)
WCS = fields.wcs(*SHAPE)
NOISE = 0.3
EPOCH = 2027.0


def core(dx, dy):
    """As undersampled as Roman's."""
    a, b = 0.55, 0.65
    return np.exp(-0.5 * ((dx / a) ** 2 + (dy / b) ** 2)) / (2.0 * np.pi * a * b)


PRF = TensorPRF.projected(core, 8.0, WCS.jacobian(*np.full((2,), 29.5)))


def table(x, y, **columns):
    """Stars at pixels of the field, at rest unless said otherwise."""
    ra, dec = WCS.pixel_to_sky(np.array(x, float), np.array(y, float))
    given = {"ra": ra, "dec": dec, "epoch": EPOCH} | columns
    return completed(pd.DataFrame(given), Crossmatch())


def frames(stars, flux, years, seed=1):
    """Dithered images of the stars at so many years after the epoch."""
    rng = np.random.default_rng(seed)
    out = []
    for year in years:
        east, north = fields.SCALE / 3600.0 * rng.uniform(-2.0, 2.0, 2)
        wcs = fields.wcs(*SHAPE, 268.0 + east / np.cos(np.deg2rad(29.2)), -29.2 + north)
        time = 2451545.0 + 365.25 * (EPOCH + year - 2000.0)
        frame = fields.frame(*positions_at(stars, time), wcs, SHAPE)
        frame = replace(frame, exposure=replace(frame.exposure, time=time))
        data = make_stamps(PRF, frame, flux, 1e-3).model(flux) + 1.5
        data += NOISE * rng.normal(size=SHAPE)
        image = masked_image(data, np.full(SHAPE, NOISE), np.zeros(SHAPE, int), 0.0)
        out.append(fields.with_image(frame, image))
    return out


def solved(images, prior, flux, steps=5):
    """States after some updates from the prior."""
    stars = Stars.of(prior)
    for _ in range(steps):
        now = [positions_at(stars.table(), image.exposure.time) for image in images]
        placed = [replace(f, ra=ra, dec=dec) for f, (ra, dec) in zip(images, now, strict=True)]
        models = FrameModels(placed, PRF, flux, 0.02, [AS_IN_HEADER] * len(images))
        known = Prior(flux, 20.0 * np.sqrt(flux))
        new = update(models, known, stars, np.ones(len(flux), bool), np.inf, 1e-4)
        stars = new.stars
    return stars, new.moved


def errors(stars, true):
    """State minus truth, shape (nsources, 5), mas and mas/yr."""
    found = stars.table()
    off = found[list(ASTROMETRIC)].to_numpy() - true[list(ASTROMETRIC)].to_numpy()
    off[:, 0] *= np.cos(np.deg2rad(true["dec"].to_numpy()))
    off[:, :2] *= 3.6e6
    return off


def grid(spacing=6.0):
    """Places of stars that are alone."""
    steps = np.arange(6.0, SIDE - 5.0, spacing)
    x, y = (a.ravel() for a in np.meshgrid(steps, steps))
    rng = np.random.default_rng(7)
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)


@pytest.mark.parametrize("sigma", [2.0, 10.0, 40.0])
def test_positions_are_found_to_their_errors(sigma):
    x, y = grid()
    flux = np.full(x.size, 60.0)
    rng = np.random.default_rng(2)
    true = table(x, y)
    off = sigma * rng.normal(size=(2, x.size)) / 110.0
    prior = table(x + off[0], y + off[1], ra_err=sigma, dec_err=sigma)
    stars, moved = solved(frames(true, flux, np.zeros(8)), prior, flux)
    assert np.median(moved) < 0.05
    off = errors(stars, true)[:, :2]
    off -= np.average(off, axis=0)  # the mean is that of the prior
    sigma = np.sqrt(np.diagonal(stars.covariance, axis1=1, axis2=2)[:, :2])
    assert 0.85 < robust_spread((off / sigma).ravel()) < 1.15
    # Of pixels with this noise, on the slopes of the PRF: NOISE / (flux sqrt(n sum p'^2)).
    slope = np.sqrt(8.0 / (8.0 * np.pi * 0.55 * 0.65 * np.array([0.55, 0.65]) ** 2)).mean()
    limit = 110.0 * NOISE / slope / 60.0
    alone = (sigma[:, 0] ** -2.0 - prior["ra_err"].to_numpy() ** -2.0) ** -0.5
    assert np.median(alone) == pytest.approx(limit, rel=0.1)


def test_motions_and_parallaxes_are_found_to_their_errors():
    x, y = grid()
    rng, flux = np.random.default_rng(3), np.full(x.size, 400.0)
    motion = 4.0 * rng.normal(size=(3, x.size))
    motion -= motion.mean(axis=1)[:, None]  # the gauge: the mean is that of the prior
    columns = dict(zip(("parallax", "pmra", "pmdec"), motion, strict=True))
    true = table(x, y, **columns)
    prior = table(x, y, ra_err=5.0, dec_err=5.0, parallax=0.0, parallax_err=4.0)
    images = frames(true, flux, np.linspace(0.0, 2.0, 16))
    stars, _ = solved(images, prior, flux, 4)
    off = errors(stars, true)
    sigma = np.sqrt(np.diagonal(stars.covariance, axis1=1, axis2=2))
    assert (sigma[:, 2:] < 0.3 * prior[list(ASTROMETRIC_ERRORS[2:])].to_numpy()).all()
    off -= off.mean(axis=0)
    for k in range(5):
        assert 0.75 < np.std(off[:, k] / sigma[:, k]) < 1.25


def test_what_all_stars_share_is_left_to_the_prior():
    x, y = grid()
    flux = np.full(x.size, 400.0)
    true = table(x + 0.1, y - 0.05)
    prior = table(x, y, ra_err=10.0, dec_err=10.0)
    stars, _ = solved(frames(true, flux, np.zeros(4)), prior, flux)
    assert np.abs(stars.offset[:, :2].mean(axis=0)).max() < 1e-9


def test_stars_that_the_images_do_not_show_are_flagged():
    x, y = grid()
    flux = np.full(x.size, 60.0)
    flux[3] = 0.01
    prior = table(x, y, ra_err=10.0, dec_err=10.0, flags=4)
    prior.loc[7, "ra_err"] = prior.loc[7, "dec_err"] = 0.01  # known better than the images tell
    stars, _ = solved(frames(prior, flux, np.zeros(4)), prior, flux, 1)
    flags = stars.result()["flags"].to_numpy()
    assert np.flatnonzero(flags & SourceFlag.POSITION_PRIOR).tolist() == [3, 7]
    assert ((flags & ~SourceFlag.POSITION_PRIOR) == 4).all()


def test_close_stars_are_solved_together():
    x, y = np.array([20.0, 20.6, 40.0, 41.1]), np.array([20.0, 20.3, 40.2, 40.0])
    flux = np.array([3000.0, 1500.0, 800.0, 800.0])
    true = table(x, y)
    off = np.array([[0.08, -0.1, 0.1, -0.06], [-0.05, 0.1, 0.06, -0.11]])
    prior = table(x + off[0], y + off[1], ra_err=10.0, dec_err=10.0)
    images = frames(true, flux, np.zeros(8))
    stars, _ = solved(images, prior, flux, 8)
    off = errors(stars, true)[:, :2]
    sigma = np.sqrt(np.diagonal(stars.covariance, axis1=1, axis2=2)[:, :2])
    off -= np.average(off, axis=0, weights=np.ones(4))
    shared = 10.0 / np.sqrt(4)  # what the gauge leaves of the errors of the prior
    assert (np.abs(off) < 5.0 * np.hypot(sigma, 0.2 * shared)).all()
    alone = solved(frames(true.iloc[:1], flux[:1], np.zeros(8)), prior.iloc[:1], flux[:1], 8)[0]
    assert stars.covariance[0, 0, 0] > 1.3 * alone.covariance[0, 0, 0]


def test_a_star_off_the_frames_keeps_its_prior():
    true = table([20.0, 40.0, 120.0], [20.0, 30.0, 20.0])
    flux = np.array([500.0, 500.0, 50.0])
    stars, _ = solved(frames(true, flux, np.zeros(3)), true, flux, 2)
    assert (stars.offset[2] == 0.0).all()
    assert stars.table()["ra_err"].iloc[2] == pytest.approx(20.0)
    assert stars.measured().tolist() == [True, True, False]


def test_error_of_a_position_knows_that_the_parallax_is_not_measured():
    """Images of one night tell where a star appears, better than where it is."""
    x, y = grid()
    flux = np.full(x.size, 400.0)
    prior = table(x, y, ra_err=10.0, dec_err=10.0, parallax_err=2.0, flags=0)
    images = frames(prior, flux, np.zeros(4))
    found = solved(images, prior, flux, 2)[0].result()
    time = images[0].exposure.time
    factor = np.stack(parallax_factors(found["ra"].to_numpy(), found["dec"].to_numpy(), time))
    apparent = np.zeros((len(found), 2, 5))
    apparent[:, 0, 0] = apparent[:, 1, 1] = 1.0
    apparent[:, :, 2] = factor.T
    spread = apparent @ covariance(found) @ np.swapaxes(apparent, 1, 2)
    seen = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
    assert seen.max() < 0.2
    assert_allclose(found["ra_err"], np.hypot(seen[:, 0], 2.0 * factor[0]), rtol=0.1)
    assert found["parallax_err"].to_numpy() == pytest.approx(2.0, rel=0.05)
