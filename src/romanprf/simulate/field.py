"""The stars of a simulated field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from romanprf.config import Simulate
from romanprf.errors import InputError
from romanprf.simulate import variability, wfi
from romanprf.simulate.prf import RADIUS
from romanprf.simulate.streams import Stream, random
from romanprf.sky.motion import julian_year, moved
from romanprf.sky.wcs import ARCSEC, deproject

#: 1 sigma of the magnitudes in the simulated catalogue, mag.
MAGNITUDE_ERROR = 0.02
#: Brightest and faintest F146 magnitude of variable stars: not saturated, seen in one exposure.
VARIABLE_MAGNITUDES = (16.5, 20.5)
#: Stars brighter than this (F146) are saturated far out of their cores.
_USUAL = 14.0
#: One star in so many has a parallax, if any: the foreground of the bulge.
_FOREGROUND = 20
#: Exposures within which every event happens at least once: the demo.
_EVENT_EXPOSURES = 16
#: Stars within this distance of a variable one contaminate it, pixels.
_CONTAMINATION_RADIUS = 3.0


@dataclass(frozen=True, eq=False)
class Field:
    """The true stars of a simulated field.

    Attributes
    ----------
    stars : DataFrame
        ``source_id``; ``ra``, ``dec`` (degrees ICRS, barycentric, at ``epoch``: Julian year of the
        first exposure), ``parallax`` (mas), ``pmra``, ``pmdec`` (mas/yr); ``x``, ``y`` (column and
        row of that place in an exposure without dither, pixels); ``mag`` (F146, AB), ``flux``
        (e-/s), both out of events; ``catalogue_ra``, ``catalogue_dec``, ``catalogue_mag`` (with the
        errors of a catalogue).  Stars outside the images are included as far as their wings reach.
    events : tuple of Microlensing or Dips
        Events of the variable stars; ``event.star`` is a row of ``stars``.
    """

    stars: pd.DataFrame
    events: tuple[variability.Event, ...]

    def fluxes(self, time: float) -> np.ndarray:
        """Flux of every star at a Julian date, e-/s, shape (n,)."""
        flux = self.stars["flux"].to_numpy(copy=True)
        for event in self.events:
            flux[event.star] *= event.factor(np.asarray(time))
        return flux


def make_field(settings: Simulate) -> Field:
    """Draw a field, which does not depend on the number of exposures.

    Raises
    ------
    InputError
        If there are not enough stars to make variable.
    """
    stars = _draw_stars(settings)
    return Field(stars=stars, events=_draw_events(stars, settings))


def plane_matrix() -> np.ndarray:
    """Derivative of the tangent plane's (xi, eta) in degrees by (column, row), shape (2, 2)."""
    sin, cos = np.sin(np.deg2rad(wfi.ROLL)), np.cos(np.deg2rad(wfi.ROLL))
    return wfi.PIXEL_SCALE / ARCSEC * np.array([[sin, cos], [cos, -sin]])


def _draw_stars(settings: Simulate) -> pd.DataFrame:
    """Stars at uniform positions, their number from a Poisson distribution."""
    rng = random(settings.seed, Stream.STARS)
    x, y, mag = _drawn(rng, (_USUAL, settings.draw_limit), settings)
    if settings.bright_limit < _USUAL:  # the others stay what they are
        bright = random(settings.seed, Stream.BRIGHT_STARS)
        more = _drawn(bright, (settings.bright_limit, _USUAL), settings)
        x, y, mag = np.concatenate([[x, y, mag], more], axis=1)
    n = len(x)
    centre = 0.5 * (settings.size - 1)
    xi, eta = plane_matrix() @ np.stack([x - centre, y - centre])
    ra, dec = deproject(xi, eta, settings.ra, settings.dec)
    columns = {
        "source_id": np.arange(1, n + 1),
        "ra": ra,
        "dec": dec,
        "x": x,
        "y": y,
        "mag": mag,
        "flux": wfi.to_flux(mag),
        "catalogue_mag": mag + rng.normal(0.0, MAGNITUDE_ERROR, n),
        "epoch": julian_year(wfi.START),
    }
    return with_astrometry(pd.DataFrame(columns), settings)


def with_astrometry(stars: pd.DataFrame, settings: Simulate) -> pd.DataFrame:
    """Stars with motions, parallaxes and the positions of a catalogue, drawn with the settings."""
    n = len(stars)
    motion = random(settings.seed, Stream.MOTIONS).normal(0.0, 1.0, (2, n))
    pmra, pmdec = settings.proper_motion * motion
    rng = random(settings.seed, Stream.CATALOGUE)
    errors = settings.position_error * rng.normal(0.0, 1.0, (2, n))
    ra, dec = moved(stars["ra"].to_numpy(), stars["dec"].to_numpy(), *errors)
    parallax = np.zeros(n)
    if settings.parallaxes is not None:
        rng = random(settings.seed, Stream.PARALLAXES)
        nearby = rng.random(n) < 1.0 / _FOREGROUND
        parallax = np.where(nearby, rng.uniform(*settings.parallaxes, n), 0.0)
    return stars.assign(
        parallax=parallax, pmra=pmra, pmdec=pmdec, catalogue_ra=ra, catalogue_dec=dec
    )


def _drawn(
    rng: np.random.Generator, limits: tuple[float, float], settings: Simulate
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, rows and magnitudes of stars between two magnitudes."""
    border = RADIUS + int(np.ceil(settings.dither))
    side = settings.size + 2 * border
    brightest, faintest = _counts(np.array(limits))
    n = rng.poisson((faintest - brightest) * settings.density * side**2 / wfi.COUNTS_AREA)
    x, y = rng.uniform(-border - 0.5, settings.size + border - 0.5, (2, n))
    log_counts = np.log10(rng.uniform(brightest, faintest, n))
    return x, y, np.interp(log_counts, np.log10(wfi.COUNTS), wfi.COUNTS_MAGNITUDE)


def _counts(magnitude: np.ndarray) -> np.ndarray:
    """Stars per detector brighter than a magnitude."""
    return 10.0 ** np.interp(magnitude, wfi.COUNTS_MAGNITUDE, np.log10(wfi.COUNTS))


def _draw_events(stars: pd.DataFrame, settings: Simulate) -> tuple[variability.Event, ...]:
    """Make isolated stars variable, the shallowest dips on the brightest."""
    makers: list[Callable[[int, float, np.random.Generator], variability.Event]] = [
        *[variability.transit] * settings.transits,
        *[variability.eclipse] * settings.eclipses,
        *[variability.microlensing] * settings.microlensing,
    ]
    rng = random(settings.seed, Stream.EVENTS)
    span = _EVENT_EXPOSURES * settings.cadence * 60 / 86400.0
    candidates = _candidates(stars, settings)
    if len(candidates) < len(makers):
        raise InputError(
            f"simulate.size, simulate.density: {len(candidates)} stars can be made variable, "
            f"expected {len(makers)} for simulate.microlensing + transits + eclipses"
        )
    candidates = rng.permutation(candidates)[: 20 * len(makers)]
    order = np.argsort([_contamination(stars, star) for star in candidates])
    chosen = candidates[order[: len(makers)]]
    chosen = chosen[np.argsort(stars["mag"].to_numpy()[chosen])]
    return tuple(make(int(star), span, rng) for make, star in zip(makers, chosen, strict=True))


def _candidates(stars: pd.DataFrame, settings: Simulate) -> np.ndarray:
    """Stars of suitable magnitude whose core is on every exposure."""
    margin = min(settings.dither + 8.0, settings.size / 4)
    on_image = stars[["x", "y"]].sub(0.5 * (settings.size - 1)).abs().max(axis=1)
    fit = stars["mag"].between(*VARIABLE_MAGNITUDES) & (on_image < 0.5 * settings.size - margin)
    if settings.catalogue_limit < VARIABLE_MAGNITUDES[1]:
        fit &= stars["catalogue_mag"] < settings.catalogue_limit
    return np.flatnonzero(fit)


def _contamination(stars: pd.DataFrame, star: int) -> float:
    """Light of close neighbours, in units of the star's own."""
    x, y, flux = (stars[name].to_numpy() for name in ("x", "y", "flux"))
    near = np.hypot(x - x[star], y - y[star]) < _CONTAMINATION_RADIUS
    return float(flux[near].sum() / flux[star] - 1.0)
