"""Memory and time that a job of the workflow asks for.

Both are linear functions of the size of the problem with measured coefficients.  Jobs ask for a
multiple of the result, because a job that asks for too little is lost and one that asks for too
much only waits longer.  The second attempt asks for twice as much, the third for three times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

#: Ratio of the memory and time that a job asks for to the measured ones.
_MEMORY_MARGIN, _TIME_MARGIN = 1.5, 3.0
#: Shortest time limit (minutes): Python has to start, sometimes from slow shared storage.
_SHORTEST = 5
#: Pixels of a detector of the Wide Field Instrument.
DETECTOR = 4088**2
#: Pixels per star of a bulge field to F146 23: assumed until the stars are counted.
_PIXELS_PER_STAR = 20


@dataclass(frozen=True)
class Size:
    """What a job works on.

    Parameters
    ----------
    pixels : int
        Pixels of one frame.
    frames : int
        Frames of the job.
    stars : int, optional
        Stars of the field; None: as in a bulge field to F146 23.
    file_mb : float, optional
        Size of the input tables (MB).
    """

    pixels: int
    frames: int = 1
    stars: int | None = None
    file_mb: float = 0.0

    @property
    def n_stars(self) -> float:
        """Number of stars: counted, or expected from the pixels."""
        return self.pixels / _PIXELS_PER_STAR if self.stars is None else self.stars

    def part(self, pixels: int) -> Size:
        """Size of the same job on at most this many pixels of each frame."""
        share = min(1.0, pixels / self.pixels)
        stars = None if self.stars is None else math.ceil(share * self.stars)
        return replace(self, pixels=math.ceil(share * self.pixels), stars=stars)


@dataclass(frozen=True)
class Cost:
    """A quantity as a linear function of `Size`."""

    fixed: float = 0.0
    pixel: float = 0.0
    star: float = 0.0
    frame_pixel: float = 0.0
    measurement: float = 0.0  # star x frame
    file_mb: float = 0.0

    def of(self, size: Size) -> float:
        """Its value for a job."""
        return (
            self.fixed
            + self.pixel * size.pixels
            + self.star * size.n_stars
            + self.frame_pixel * size.frames * size.pixels
            + self.measurement * size.frames * size.n_stars
            + self.file_mb * size.file_mb
        )


#: Peak memory (bytes).  The coefficients of the simulation, of `deltas` and of `shape` are those of
#: demo fields with 128 and 256 pixels a side (`results/benchmarks`).
_MEMORY = {
    "kernels": Cost(fixed=600e6),
    "simulate_field": Cost(fixed=300e6, pixel=100.0),
    "simulate_truth": Cost(fixed=300e6, pixel=100.0, measurement=16.0),
    "simulate_exposure": Cost(fixed=400e6, pixel=200.0),
    "simulate_cube": Cost(fixed=400e6, pixel=200.0, frame_pixel=16.0),
    "frames": Cost(fixed=300e6, pixel=40.0),
    "choose": Cost(fixed=300e6, file_mb=20e6),
    "crossmatch": Cost(fixed=300e6, file_mb=20e6),
    "deltas": Cost(fixed=400e6, pixel=40.0, measurement=10e3),
    # 1.8 GB for 20 frames of 256 x 256 pixels with 8 000 stars; 2.8 GB for patches of a detector
    # with 770 000 stars and 5.5 GB for the search on all of it, which finds as many again.
    "shape": Cost(fixed=1.5e9, pixel=100.0, star=6e3, measurement=1e3),
    "search": Cost(fixed=400e6, pixel=170.0, star=3.5e3, measurement=40.0),
    # One frame of 4088 x 4088 pixels with 750 000 stars: 3.9 GB for the fluxes (7.8 GB with 1.9
    # million), 5.1 GB for the errors of the model; and the next frame and the results of the batch.
    "fit": Cost(fixed=400e6, pixel=180.0, star=2.5e3, measurement=64.0),
    # Centroids are read in chunks of half a million, light curves in chunks of a million.
    "astrometry": Cost(fixed=900e6, star=1.5e3),
    "metrics": Cost(fixed=1.2e9, star=2e3),
    "checks": Cost(fixed=400e6, star=4e3),
    "plots": Cost(fixed=600e6, pixel=80.0, star=4e3),
}

#: Core-seconds, measured in the same runs.  `fit`: 14 per frame with 750 000 stars, 44 with 1.9
#: million, and 57 for the errors of the model on each of two frames.
_SECONDS = {
    "kernels": Cost(fixed=200.0),
    "simulate_field": Cost(fixed=5.0, star=1e-4),
    "simulate_truth": Cost(fixed=5.0, star=1e-4, measurement=1e-6),
    "simulate_exposure": Cost(fixed=5.0, pixel=1e-4),
    "simulate_cube": Cost(fixed=5.0, frame_pixel=1e-4),
    "frames": Cost(fixed=5.0, file_mb=0.02),
    "choose": Cost(fixed=5.0, file_mb=1.0),
    "crossmatch": Cost(fixed=10.0, file_mb=5.0),
    "deltas": Cost(fixed=5.0, measurement=1e-3),
    # 190 for 12 frames with 1 800 stars, whose states move.  With states at rest it took 31 minutes
    # for three frames of a detector with 770 000 stars and one search.  There are up to three, and
    # the PRF is fitted again after each.
    "shape": Cost(fixed=30.0, measurement=1e-2),
    "search": Cost(measurement=1.3e-3),
    "fit": Cost(fixed=5.0, star=120 / 750e3, measurement=20 / 750e3),
    # 32 for 1.3 million centroids, 8 sweeps of 3 microseconds each and reading.
    "astrometry": Cost(fixed=20.0, measurement=25e-6),
    "metrics": Cost(fixed=10.0, star=1e-3, measurement=3e-6),
    "checks": Cost(fixed=10.0, star=1e-4),
    "plots": Cost(fixed=30.0, star=1e-4),
}


def memory_mb(rule: str, size: Size, attempt: int = 1) -> int:
    """Memory that a job asks for (MB).

    Parameters
    ----------
    rule : str
        Name of the rule.
    size : Size
        What the job works on.
    attempt : int
        1, or higher for a job that failed before.
    """
    return math.ceil(_MEMORY_MARGIN * attempt * _MEMORY[rule].of(size) / 1e6)


def minutes(rule: str, size: Size, attempt: int = 1, threads: int = 1) -> int:
    """Time limit that a job asks for (minutes), as `memory_mb`.

    Parameters
    ----------
    rule, size, attempt
        See `memory_mb`.
    threads : int
        Cores of the job.
    """
    needed = _TIME_MARGIN * _SECONDS[rule].of(size) / (60 * threads)
    return attempt * max(_SHORTEST, math.ceil(needed))
