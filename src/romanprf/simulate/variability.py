"""Variable stars: microlensing events, planetary transits and eclipsing binaries.

All time scales are fractions of a span, that of 16 exposures, so that the demo shows whole events.
They do not depend on the number of exposures; periodic events recur in later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from romanprf.simulate.wfi import START


@dataclass(frozen=True)
class Microlensing:
    """A point lens passing a point source (Paczynski 1986, ApJ 304, 1, eq. 11).

    Attributes
    ----------
    star : int
        Row of `Field.stars`.
    peak, einstein_time : float
        Time of the closest approach (Julian date) and Einstein crossing time (days).
    impact : float
        Closest approach, Einstein radii.
    """

    star: int
    peak: float
    einstein_time: float
    impact: float
    kind: ClassVar[str] = "microlensing"

    def factor(self, time: np.ndarray) -> np.ndarray:
        """Flux in units of the unlensed flux."""
        u2 = self.impact**2 + ((time - self.peak) / self.einstein_time) ** 2
        return (u2 + 2.0) / np.sqrt(u2 * (u2 + 4.0))


@dataclass(frozen=True)
class Dips:
    """Trapezoidal dips, periodic: a transit, or an eclipse with a secondary one.

    Attributes
    ----------
    star : int
        Row of `Field.stars`.
    kind : str
        transit or eclipse.
    middle, period : float
        Middle of a dip (Julian date) and period (days).
    duration, ingress : float
        First to last contact, and the slope at either end (days).
    depth, secondary : float
        Fractions of the flux that are missing in mid-dip and half a period later.
    """

    star: int
    kind: str
    middle: float
    period: float
    duration: float
    ingress: float
    depth: float
    secondary: float = 0.0

    def factor(self, time: np.ndarray) -> np.ndarray:
        """Flux in units of the flux out of dips."""
        factor = np.ones(np.shape(time))
        for middle, depth in ((0.0, self.depth), (0.5 * self.period, self.secondary)):
            phase = (time - self.middle - middle + 0.5 * self.period) % self.period
            inside = 0.5 * self.duration - np.abs(phase - 0.5 * self.period)
            factor -= depth * np.clip(inside / self.ingress, 0.0, 1.0)
        return factor


Event: TypeAlias = Microlensing | Dips


def microlensing(star: int, span: float, random: np.random.Generator) -> Microlensing:
    """Draw an event that peaks within the span (days), by a factor of 2.5 to 10."""
    return Microlensing(
        star=star,
        peak=START + span * random.uniform(0.35, 0.65),
        einstein_time=span * random.uniform(0.1, 0.25),
        impact=random.uniform(0.1, 0.4),
    )


def transit(star: int, span: float, random: np.random.Generator) -> Dips:
    """Draw a transit of 2 to 4 %, as of a giant planet before a K or M dwarf; span in days."""
    duration = span * random.uniform(0.18, 0.28)
    return Dips(
        star=star,
        kind="transit",
        middle=START + span * random.uniform(0.35, 0.65),
        period=span * random.uniform(0.8, 1.2),
        duration=duration,
        ingress=0.15 * duration,
        depth=random.uniform(0.02, 0.04),
    )


def eclipse(star: int, span: float, random: np.random.Generator) -> Dips:
    """Draw an eclipsing binary: 20 to 50 %, secondary eclipses 30 to 70 %; span in days."""
    duration = span * random.uniform(0.14, 0.2)
    depth = random.uniform(0.2, 0.5)
    return Dips(
        star=star,
        kind="eclipse",
        middle=START + span * random.uniform(0.35, 0.65),
        period=span * random.uniform(0.6, 0.9),
        duration=duration,
        ingress=0.4 * duration,
        depth=depth,
        secondary=depth * random.uniform(0.3, 0.7),
    )
