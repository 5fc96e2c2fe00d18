"""The light of the PRF by radius, measured on all pixels of some frames at once.

The pixels that belong to one source tell the core of a log-polar PRF; its wings, fainter than the
noise of any pixel, follow the prior, and with them the integral and all fluxes.  Together the
pixels do tell the wings: the image of all sources is linear in the light of each ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from romanprf.frame.stamps import make_stamps
from romanprf.machine.beyond import beyond_rmax
from romanprf.machine.scene import Scene
from romanprf.machine.series import FramePixels
from romanprf.prf import PRF, LogPolarPRF

#: Radii at which the light is measured: the first one in units of the pixel scale, and their ratio,
#: but at least so many pixels apart.  Between them factors are linear in the log of the radius.
_INNER, _RATIO, _APART = 0.5, 1.45, 0.4
#: Prior sigma of the factor of the core about 1, and of the changes of the factor from radius to
#: radius, relative to the factor, or to a least one.
_CORE_SIGMA, _CHANGE_SIGMA, _LEAST_CHANGE = 1.0, 0.3, 0.05
#: ... and what becomes of the factor from radius to radius where no pixel tells: the wings of the
#: first guess are bright ones.
_DECAY = 0.8
#: Relative error of the light of a source in a pixel, which the pixels of bright cores share.
_CORE_ERROR = 0.05
#: Pixels that are off by more sigmas are left out.
_CLIP, _CLIPS = 5.0, 3
#: Light that a source gives less of to a pixel is left out, in units of the noise.
_FAINTEST = 0.02
#: Bounds of a factor: splines of the logarithm follow no larger steps.
_LEAST, _MOST = 0.1, 3.0
#: Number of the brightest sources about which the light of the PRF is summed, and the ratio of flux
#: and noise of a pixel from which on they count alike.
_BRIGHTEST, _BRIGHT = 60, 50.0
#: Midpoints in sqrt(r) for the light of the rings.
_MIDPOINTS = 600


@dataclass(frozen=True)
class Rings:
    """Factors of the light of a PRF at some radii.

    Attributes
    ----------
    radii : ndarray, shape (n,)
        Arcsec, rising; inside the first and outside the last one the factor is theirs.
    factor : ndarray, shape (n,)
        By which the light is to be multiplied.
    covariance : ndarray, shape (n, n)
        Of the factors.
    """

    radii: np.ndarray
    factor: np.ndarray
    covariance: np.ndarray

    def weights(self, r: np.ndarray) -> np.ndarray:
        """Weight of each factor at radii (arcsec), shape (n, r.size)."""
        return _hats(self.radii, r)

    def applied(self, prf: LogPolarPRF) -> LogPolarPRF:
        """The PRF with its light multiplied."""
        knots = prf.radial_knots
        centre = np.maximum((knots[1:-3] + knots[2:-2] + knots[3:-1]) / 3.0, 0.0) ** 2
        factor = np.tensordot(self.positive, self.weights(centre), 1)
        coefficients = prf.coefficients.copy()
        coefficients[: prf.n_radial] += np.log10(factor)
        return replace(prf, coefficients=coefficients)

    def scale_error(self, prf: PRF) -> float:
        """Relative error of all fluxes that the errors of the light by radius leave.

        A flux is the light times the PRF, summed over the pixels, so the core determines it.
        """
        r, ring = light_inside(prf)
        value = prf.evaluate(r, 0.0)
        light, core = ring_light(self, prf), self.weights(r) @ (ring * value)
        slope = light / (light @ self.positive) - core / (core @ self.positive)
        return float(np.sqrt(slope @ self.covariance @ slope))

    @property
    def positive(self) -> np.ndarray:
        """The factors within the bounds of one step."""
        return np.clip(self.factor, _LEAST, _MOST)


def ring_light(rings: Rings, prf: PRF) -> np.ndarray:
    """Light that each of the factors stands for; the last one also for the wing beyond rmax."""
    r, ring = light_inside(prf)
    light = rings.weights(r) @ ring
    light[-1] += prf.integral() - ring.sum()
    return light


def total_light(scene: Scene, frames: Sequence[FramePixels]) -> float:
    """Sum of the PRF over the pixels of a detector, as they lie about the stars that shaped it.

    Between the pixels of few stars without dithers the model is what its splines make of it; its
    integral would count that, and the sum over the pixels does not.  With many stars or dithers
    both are equal.

    Parameters
    ----------
    scene : Scene
        Its PRF need not be normalised; the brightest sources count, alike if they outshine the
        noise by far.
    frames : sequence of FramePixels
        That shaped it.
    """
    flux, ra, dec = scene.flux, scene.ra, scene.dec
    brightest = np.argsort(-flux, kind="stable")[:_BRIGHTEST]
    weight = 1.0 / (1.0 + (_BRIGHT * frames[0].noise / flux[brightest]) ** 2)
    sums, weights = [], []
    for frame in frames:
        wcs, scale, prf = frame.grid.wcs, frame.grid.pixel_scale, scene.prf_of(frame)
        reach = np.arange(-np.ceil(prf.rmax / scale) - 1.0, np.ceil(prf.rmax / scale) + 2.0)
        x, y = wcs.sky_to_pixel(ra[brightest], dec[brightest])
        nrows, ncols = frame.grid.shape
        seen = (np.abs(x - 0.5 * (ncols - 1)) < 0.5 * ncols) & (
            np.abs(y - 0.5 * (nrows - 1)) < 0.5 * nrows
        )
        for i in np.flatnonzero(seen):
            dx, dy = (reach + np.rint(place) - place for place in (x[i], y[i]))
            jacobian = wcs.jacobian(x[i : i + 1], y[i : i + 1])[0]
            sums.append(prf.on_pixels(dx[None, :], dy[:, None], jacobian).sum())
            weights.append(weight[i])
    integral, inside = scene.prf.integral(), light_inside(scene.prf)[1].sum()
    return float(np.average(sums, weights=weights) + integral - inside) if sums else integral


def light_inside(prf: PRF) -> tuple[np.ndarray, np.ndarray]:
    """Radii (arcsec) uniform in their square root, and the light of the ring about each."""
    t, step = np.linspace(0.0, np.sqrt(prf.rmax), _MIDPOINTS + 1, retstep=True)
    t = 0.5 * (t[1:] + t[:-1])
    phi = np.linspace(-np.pi, np.pi, 64, endpoint=False)
    mean = prf.evaluate(t[:, None] ** 2, phi[None, :]).mean(axis=1)
    return t**2, 4.0 * np.pi * mean * t**3 * step / prf.pixel_area  # r dr = 2 t^3 dt


def measure_rings(
    scene: Scene, frames: Sequence[FramePixels], before: np.ndarray | None, background: bool
) -> Rings:
    """Fit the light of all sources by radius to frames, their fluxes held.

    Parameters
    ----------
    scene : Scene
        PRF, positions and fluxes.
    frames : sequence of FramePixels
        The pixels.
    before : ndarray, shape (n,), optional
        Factors that the PRF has got already: the prior is about the PRF without them.
    background : bool
        Whether each frame has a background of its own.
    """
    radii = _radii(scene.prf, frames[0].grid.pixel_scale)
    before = np.ones(radii.size) if before is None else before
    parts = [_templates(scene, frame, radii) for frame in frames]
    factor, covariance = np.ones(radii.size), np.eye(radii.size)
    for _ in range(_CLIPS):
        (normal, right), chi2, used = _prior(before), 0.0, 0.0
        for design, flux, variance in parts:
            weight, left = _weights(design, flux, variance, factor, background)
            chi2, used = chi2 + np.sum(weight * left**2), used + float(np.count_nonzero(weight))
            gram = (design * weight) @ design.T
            vector = design @ (weight * flux)
            if background and weight.any():
                shared = design @ weight
                gram = gram - np.outer(shared, shared) / weight.sum()
                vector = vector - shared * (weight @ flux) / weight.sum()
            normal, right = normal + gram, right + vector
        covariance = np.linalg.inv(normal)
        factor = covariance @ right
    spread = max(1.0, chi2 / max(used - radii.size, 1.0))
    return Rings(radii=radii, factor=factor, covariance=covariance * spread)


def _prior(before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision of the prior and its product with the mean, for factors on top of ``before``.

    Where no pixel tells the light of a ring, it is as that of the next one inside.
    """
    typical = np.maximum(0.5 * (before[1:] + before[:-1]), _LEAST_CHANGE)
    step = np.eye(before.size)[1:] - _DECAY * np.eye(before.size)[:-1]
    change = step * before / (_CHANGE_SIGMA * typical[:, None])
    normal, right = change.T @ change, np.zeros(before.size)
    normal[0, 0] += (before[0] / _CORE_SIGMA) ** 2
    right[0] = before[0] / _CORE_SIGMA**2
    return normal, right


def _radii(prf: PRF, pixel_scale: float) -> np.ndarray:
    """Radii from the core to the end of the PRF, arcsec."""
    radii = [min(_INNER * pixel_scale, 0.5 * prf.rmax)]
    while radii[-1] * _RATIO**1.5 < prf.rmax:
        radii.append(max(_RATIO * radii[-1], radii[-1] + _APART * pixel_scale))
    return np.array([*(r for r in radii if r < prf.rmax), prf.rmax])


def _place(radii: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the last of the ``radii`` inside each radius, and how far the next one is gone."""
    place = np.interp(np.log(np.maximum(r, 1e-9)), np.log(radii), np.arange(float(radii.size)))
    inside = np.minimum(place.astype(np.int64), radii.size - 2)
    return inside, place - inside


def _hats(radii: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Weights of linear interpolation in the logarithm of the radius, shape (n, r.size)."""
    inside, part = _place(radii, r)
    hats = np.zeros((radii.size, r.size))
    hats[inside, np.arange(r.size)] = 1.0 - part
    hats[inside + 1, np.arange(r.size)] += part
    return hats


def _templates(
    scene: Scene, frame: FramePixels, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light that each factor stands for in the usable pixels (n, npixels); their flux and variance.

    The variance includes the error of the cores.
    """
    usable, grid = frame.usable, frame.grid
    noise = float(np.median(frame.flux_err[usable]))
    stars = frame.frame(scene.ra, scene.dec)
    stamps = make_stamps(scene.prf_of(frame), stars, scene.flux, _FAINTEST * noise)
    source, pixel = grid.entries(stamps)
    light = stamps.values * scene.flux[source]
    inside, part = _place(radii, np.hypot(*grid.offsets(stamps)))
    seen, size = pixel >= 0, usable.size
    ring, pixel, part, light = (a[seen] for a in (inside, pixel, part, light))
    design = np.zeros(radii.size * size)
    for number, weight in ((ring, 1.0 - part), (ring + 1, part)):
        design += np.bincount(number * size + pixel, weight * light, minlength=design.size)
    design = design.reshape(radii.size, size)[:, usable]
    flux = np.where(np.diff(stamps.offset) > 0, scene.flux, 0.0)
    design[-1] += grid.pixels(beyond_rmax(scene.prf, grid, scene.ra, scene.dec, flux))[usable]
    variance = frame.flux_err[usable] ** 2 + (_CORE_ERROR * design.sum(axis=0)) ** 2
    return design, frame.flux[usable], variance


def _weights(
    design: np.ndarray,
    flux: np.ndarray,
    variance: np.ndarray,
    factor: np.ndarray,
    background: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse variances, 0 where a pixel is far off the model, and what the model leaves."""
    left = flux - factor @ design
    left -= np.median(left) if background else 0.0
    return np.where(left**2 > _CLIP**2 * variance, 0.0, 1.0 / variance), left
