"""Log-polar PRF models on disk, exchanged with psfmachine and roman-lcs.

`romanprf.io.shape_files` describes the files, `romanprf.prf.exchange` the basis of the packages.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from romanprf.errors import InputError
from romanprf.io.shape_files import (
    ShapeFile,
    checked_facts,
    checked_suffix,
    geometry,
    header,
    read_shape_file,
    readable,
    write_shape_file,
)
from romanprf.prf import PRF, LogPolarPRF
from romanprf.prf.exchange import ExchangeBasis


def write_shape(path: str | Path, prf: PRF, facts: Mapping[str, Any]) -> None:
    """Save a log-polar PRF.

    Parameters
    ----------
    path : path
        File to write, ``.parquet`` or ``.fits``.
    prf : PRF
        The model.
    facts : mapping of str to str, int, float or bool
        Facts about the observation for the header, by FITS key: mission, quarter, channel, field,
        detector, filter, jd-obs, ...  The packages refuse a file without those they know.
        ``n_rknots``, ``n_pknots``, ``rmin``, ``rmax`` and ``cut_r``, when given (`read_shape`
        gives them), are the basis of the weights in HDU 1; without them it has the knots of
        ``prf``.

    Raises
    ------
    ValueError
        If the model is not log-polar or not finite, or if the suffix of ``path`` or a fact cannot
        be used.
    """
    if not isinstance(prf, LogPolarPRF):
        raise ValueError(
            f"the files are those of log-polar models, and this is a {prf.kind} model: "
            'save that of build_shape_model(model="log-polar")'
        )
    suffix = checked_suffix(path)
    if not np.isfinite(prf.coefficients).all():
        raise ValueError("the PRF has coefficients that are not finite, expected a fitted model")
    facts = checked_facts(facts)
    basis = ExchangeBasis.of(prf, facts)
    weights = basis.weights(prf) if suffix == ".fits" else np.empty(0)
    facts = header(facts, asdict(basis), prf.pixel_area)
    write_shape_file(path, ShapeFile(facts, *prf.to_table(), weights))


def read_shape(
    path: str | Path, pixel_area: float | None = None
) -> tuple[LogPolarPRF, dict[str, Any]]:
    """Load a PRF that `write_shape`, psfmachine or roman-lcs saved.

    A model of the packages becomes one of ours with more radial knots, equal to 1e-3 dex (see
    `romanprf.prf.exchange`).  It is not normalised: its values are fractions of the fluxes in
    the catalogue that it was built with.

    Parameters
    ----------
    path : path
        ``.parquet`` or ``.fits``.
    pixel_area : float, optional
        Area of the pixels of the model, arcsec^2, for files that do not state it (key PIXAREA):
        those of the packages.

    Returns
    -------
    prf : LogPolarPRF
        The model.
    facts : dict
        Header by lower-case key.

    Raises
    ------
    ValueError
        If the suffix is neither of the two.
    InputError
        If the file is not that of such a model, is damaged or lacks the pixel area.

    Warns
    -----
    UserWarning
        If psfmachine marked the weights as normalised.  It multiplies weights, which are
        logarithms, by log10 of their integral, which raises the PRF to that power.  The file
        does not state the integral; the PRF is loaded as psfmachine would evaluate it.
    """
    content = read_shape_file(path)
    if content.columns:
        prf = _exact_model(path, content)
        return prf, content.facts or asdict(ExchangeBasis.of(prf, {}))
    facts = content.facts
    prf = _foreign_model(path, content, pixel_area)
    if facts.get("norm") in ("True", "T", 1):
        warnings.warn(
            f"{path}: norm = {facts['norm']}: psfmachine raised this PRF to the power log10 of its "
            "integral when it normalised it; before saving there, divide psf_w by "
            "log10(mean_model_integral) and set normalized_shape_model = False",
            stacklevel=2,
        )
    return prf, facts


def _exact_model(path: str | Path, content: ShapeFile) -> LogPolarPRF:
    """Model of a ``prf`` table."""
    with readable(path):
        prf = LogPolarPRF.from_table(content.columns, content.metadata)
        if prf.coefficients.size != prf.size or not np.isfinite(prf.coefficients).all():
            raise InputError(
                f"{path}: {np.isfinite(prf.coefficients).sum()} finite coefficients of "
                f"{prf.coefficients.size}, expected {prf.size}"
            )
        return prf


def _foreign_model(path: str | Path, content: ShapeFile, pixel_area: float | None) -> LogPolarPRF:
    """Model of the weights of a package."""
    facts, weights = content.facts, content.weights
    knots = geometry(path, facts)
    try:
        basis = ExchangeBasis(**knots)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if weights.shape != (basis.size,) or not np.isfinite(weights).all():
        raise InputError(
            f"{path}: {np.isfinite(weights).sum()} finite weights psf_w of {weights.size}, "
            f"expected {basis.size} for n_rknots {basis.n_rknots} and n_pknots {basis.n_pknots}"
        )
    pixel_area = facts.get("pixarea", pixel_area)
    if pixel_area is None:
        raise InputError(f"{path}: no pixel area (PIXAREA), expected the argument pixel_area")
    if not pixel_area > 0.0:
        raise InputError(f"{path}: pixel area {pixel_area!r}, expected arcsec^2 above 0")
    return basis.to_prf(weights, pixel_area)
