"""Memory and time that a job of the workflow asks for.

Linear in the size of the problem, with the coefficients below: measured ones times a margin, since
a job that asks for too little is lost and one that asks for too much only waits longer.  A second
attempt asks for twice as much, a third for three times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

#: Of the measured memory and time, what a job asks for.
_MEMORY_MARGIN, _TIME_MARGIN = 1.5, 3.0
#: Shortest limit (minutes): shared storage is sometimes slow, and Python has to start.
_SHORTEST = 5
#: Pixels of a detector of the WFI.
DETECTOR = 4088**2
#: Pixels per star of a bulge field to F146 23, where the stars are not counted yet.
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
        Stars of the field; those of a bulge field to F146 23 where it is not known.
    file_mb : float, optional
        Size of the input tables (MB).
    """

    pixels: int
    frames: int = 1
    stars: int | None = None
    file_mb: float = 0.0

    @property
    def known_stars(self) -> float:
        """Stars counted, or expected from the pixels."""
        return self.pixels / _PIXELS_PER_STAR if self.stars is None else self.stars

    def part(self, pixels: int) -> Size:
        """The same for a part of the frames of at most this many pixels."""
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
            + self.star * size.known_stars
            + self.frame_pixel * size.frames * size.pixels
            + self.measurement * size.frames * size.known_stars
            + self.file_mb * size.file_mb
        )


#: Peak memory (bytes).  The fixed parts and those per pixel and star of the simulation, of `deltas`
#: and of `shape` are from `results/benchmarks` of demo fields of 128 and 256 pixels a side.
_MEMORY = {
    "kernels": Cost(fixed=600e6),
    "simulate_field": Cost(fixed=300e6, pixel=100.0),
    "simulate_truth": Cost(fixed=300e6, pixel=100.0, measurement=16.0),
    "simulate_exposure": Cost(fixed=400e6, pixel=200.0),
    "simulate_cube": Cost(fixed=400e6, pixel=200.0, frame_pixel=16.0),
    "frames": Cost(fixed=300e6, pixel=40.0),
    "crossmatch": Cost(fixed=300e6, file_mb=20e6),
    "deltas": Cost(fixed=400e6, pixel=40.0, measurement=10e3),
    # 1.8 GB for 20 frames of 256 x 256 pixels with 8 000 stars; 2.8 GB for patches of a detector
    # with 770 000, 5.5 GB for the search on all of it, which finds as many again.
    "shape": Cost(fixed=1.5e9, pixel=100.0, star=6e3, measurement=1e3),
    "search": Cost(fixed=400e6, pixel=170.0, star=3.5e3, measurement=40.0),
    # 5.1 GB for the errors of the model on one frame of 4088 x 4088 pixels with 750 000 stars (3.9
    # GB for its fluxes, 7.8 GB with 1.9 million); the next frame and the results of the batch.
    "fit": Cost(fixed=400e6, pixel=170.0, star=2.5e3, measurement=40.0),
    # Light curves go through in chunks of four million measurements.
    "metrics": Cost(fixed=1.2e9, star=2e3),
    "plots": Cost(fixed=600e6, pixel=80.0, star=4e3),
}

#: Core-seconds, those of the same runs and, for `fit`, 14 per frame of 750 000 stars, 44 of 1.9
#: million, and 57 for the errors of the model, on two frames.
_SECONDS = {
    "kernels": Cost(fixed=200.0),
    "simulate_field": Cost(fixed=5.0, star=1e-4),
    "simulate_truth": Cost(fixed=5.0, star=1e-4, measurement=1e-6),
    "simulate_exposure": Cost(fixed=5.0, pixel=1e-4),
    "simulate_cube": Cost(fixed=5.0, frame_pixel=1e-4),
    "frames": Cost(fixed=5.0, file_mb=0.02),
    "crossmatch": Cost(fixed=10.0, file_mb=5.0),
    "deltas": Cost(fixed=5.0, measurement=1e-3),
    # 100 for 20 frames of 8 000 stars; 31 minutes for three frames of a detector with 770 000 and
    # one of up to three searches, after which the PRF is fitted again.
    "shape": Cost(fixed=30.0, measurement=5e-3),
    "search": Cost(measurement=1.3e-3),
    "fit": Cost(fixed=5.0, star=120 / 750e3, measurement=20 / 750e3),
    "metrics": Cost(fixed=10.0, star=1e-3, measurement=1e-6),
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
