"""The states of stars: where they are, how they move, and what is known of it beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from romanprf.flags import SourceFlag
from romanprf.schemas import ASTROMETRIC
from romanprf.sky.motion import moved
from romanprf.sky.states import covariance, with_covariance

#: A star is measured if the images reduce the error of its position to this part of the prior's.
_MEASURED = 0.5


@dataclass(frozen=True, eq=False)
class Stars:
    """The stars of a reduction.

    Attributes
    ----------
    prior : DataFrame
        Sources table with what is known beforehand, one epoch for all.
    offset : ndarray, shape (nsources, 5)
        State minus prior, of the parameters `romanprf.schemas.ASTROMETRIC`: mas and mas/yr.
    covariance : ndarray, shape (nsources, 5, 5)
        Of the state, with the parameters that are not solved at their prior.
    combination : ndarray, shape (5, 5)
        Combinations of the parameters that the images measure: row k is the derivative of the
        solved parameter k by each parameter, 0 if k is not solved.  Images of one day measure the
        apparent position, of which the parallax is a part.
    """

    prior: pd.DataFrame
    offset: np.ndarray
    covariance: np.ndarray
    combination: np.ndarray

    @classmethod
    def of(cls, prior: pd.DataFrame) -> Stars:
        """Stars of which nothing else is known."""
        n = len(ASTROMETRIC)
        return cls(prior, np.zeros((len(prior), n)), covariance(prior), np.eye(n))

    def __len__(self) -> int:
        return len(self.prior)

    def table(self) -> pd.DataFrame:
        """Sources table with the present states."""
        ra, dec = (self.prior[name].to_numpy() for name in ("ra", "dec"))
        ra, dec = moved(ra, dec, self.offset[:, 0], self.offset[:, 1])
        columns = {"ra": np.mod(ra, 360.0), "dec": dec}
        for k, name in enumerate(ASTROMETRIC[2:], 2):
            columns[name] = self.prior[name].to_numpy() + self.offset[:, k]
        return with_covariance(self.prior.assign(**columns), self.covariance)

    def result(self) -> pd.DataFrame:
        """The table with the full covariance, and with flags.

        Flagged are the stars of whose place the images tell less than the prior.
        """
        table = replace(self, covariance=self._full_covariance()).table()
        kept = np.int32(SourceFlag.POSITION_PRIOR) * ~self._better(np.sqrt(0.5))
        return table.assign(flags=table["flags"] | kept)

    def _full_covariance(self) -> np.ndarray:
        """Covariance of the state with all parameters uncertain, shape (nsources, 5, 5)."""
        solved = np.flatnonzero(self.combination.any(axis=1))
        prior, (row, column) = covariance(self.prior), np.ix_(solved, solved)
        known, before = (matrix[:, row, column] for matrix in (self.covariance, prior))
        gained = np.linalg.inv(known) - np.linalg.inv(before)
        rows = self.combination[solved]
        return np.linalg.inv(np.linalg.inv(prior) + rows.T @ gained @ rows)

    def measured(self) -> np.ndarray:
        """Whether the images tell more of each star's position than the prior, shape (n,)."""
        return self._better(_MEASURED)

    def _better(self, part: float) -> np.ndarray:
        """Whether the errors of a position are less than this part of the prior's."""
        known, prior = self.covariance, covariance(self.prior)
        axes = np.arange(2)
        return np.all(known[:, axes, axes] < part**2 * prior[:, axes, axes], axis=1)

    def centred(self, weighty: np.ndarray) -> Stars:
        """The stars with the gauge fixed: their mean offset from the prior is 0 (see docs).

        What all stars have in common is not seen in the images, where the PRF and the shifts of
        the frames take it.

        Parameters
        ----------
        weighty : ndarray of bool, shape (nsources,)
            The stars that count.
        """
        variance = np.diagonal(covariance(self.prior), axis1=1, axis2=2)
        weight = np.where((weighty & self.measured())[:, None], 1.0 / variance, 0.0)
        total = weight.sum(axis=0)
        mean = np.divide(
            (weight * self.offset).sum(axis=0), total, out=np.zeros(5), where=total > 0
        )
        return replace(self, offset=self.offset - np.where(self.measured()[:, None], mean, 0.0))

    def taking(self, prior: pd.DataFrame, kept: np.ndarray) -> Stars:
        """Some of the stars (indices), with rows of ``prior``, and after them those new in it."""
        new = Stars.of(prior.iloc[len(kept) :])
        return Stars(
            prior,
            np.concatenate([self.offset[kept], new.offset]),
            np.concatenate([self.covariance[kept], new.covariance]),
            self.combination,
        )
