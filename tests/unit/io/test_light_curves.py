from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import Table

from romanprf.io.light_curves import light_curve_table, lightkurve_collection, source_ids

NT = 5
TIME = 2461450.25 + np.arange(NT)
SOURCES = pd.DataFrame({"ra": [268.0, 268.1], "dec": [-29.0, -29.1]}, index=[7, 3])
META = {"mission": "Roman", "filter": "F146", "time_scale": "tdb", "shape": (5, 5)}


def columns(names: tuple[str, ...] = ("psf_flux", "psf_flux_err")) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.uniform(1.0, 2.0, (NT, len(SOURCES))) for name in names}


PERTURBED = ("psf_flux", "psf_flux_err", "perturbed_flux", "perturbed_flux_err")


@pytest.mark.parametrize("names", [PERTURBED[:2], PERTURBED])
def test_long_table(names: tuple[str, ...]) -> None:
    values = columns(names)
    table = light_curve_table(TIME, SOURCES, values, META)
    assert table.colnames == ["source_id", "time", "ra", "dec", *names]
    assert table["source_id"].tolist() == [7] * NT + [3] * NT
    assert table["time"].tolist() == [*TIME, *TIME]
    assert table["dec"].tolist() == [-29.0] * NT + [-29.1] * NT
    for name in names:
        np.testing.assert_array_equal(table[name][table["source_id"] == 3], values[name][:, 1])
        assert table[name].unit == u.electron / u.s
    assert (table["time"].unit, table["ra"].unit) == (u.d, u.deg)
    assert table.meta == {"mission": "Roman", "filter": "F146", "time_scale": "tdb"}


@pytest.mark.parametrize("form", ["ecsv", "parquet"])
def test_table_survives_a_file(tmp_path: Path, form: str) -> None:
    sources = SOURCES.assign(designation=["Gaia DR3 1", "Gaia DR3 2"])
    table = light_curve_table(TIME, sources, columns(), META)
    path = tmp_path / f"a.{form}"
    table.write(path)
    back = Table.read(path)
    assert back["source_id"].astype(str).tolist() == table["source_id"].tolist()
    assert back["psf_flux"].unit == u.electron / u.s
    np.testing.assert_array_equal(back["psf_flux"], table["psf_flux"])
    assert back.meta["mission"] == "Roman"


def test_names_of_sources() -> None:
    assert source_ids(SOURCES).tolist() == [7, 3]
    named = SOURCES.assign(designation=["a", "b"])
    assert source_ids(named).tolist() == ["a", "b"]
    assert source_ids(named.assign(source_id=[11, 12])).tolist() == [11, 12]


def test_transposed_fluxes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"psf_flux has shape \(2, 5\), expected .* \(5, 2\)"):
        light_curve_table(TIME, SOURCES, {"psf_flux": columns()["psf_flux"].T}, META)


def test_without_lightkurve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightkurve", None)
    with pytest.raises(ImportError, match=r'pip install "romanprf\[lightkurve\]"'):
        lightkurve_collection(TIME, SOURCES, columns(), META)


def test_lightkurve() -> None:
    lightkurve = pytest.importorskip("lightkurve")
    values = columns(PERTURBED)
    values["psf_flux"][2, 0] = np.nan
    curves = lightkurve_collection(TIME, SOURCES, values, META)
    assert isinstance(curves, lightkurve.LightCurveCollection)
    assert len(curves) == 2
    for k, curve in enumerate(curves):
        np.testing.assert_array_equal(
            np.ma.filled(curve.flux.value, np.nan), values["psf_flux"][:, k]
        )
        np.testing.assert_array_equal(curve.flux_err.value, values["psf_flux_err"][:, k])
        np.testing.assert_array_equal(curve["perturbed_flux"].value, values["perturbed_flux"][:, k])
        assert curve.flux.unit == u.electron / u.s
        assert (curve.time.scale, curve.time.jd.tolist()) == ("tdb", TIME.tolist())
        assert (curve.label, curve.ra, curve.dec) == (
            str(SOURCES.index[k]),
            SOURCES["ra"].iloc[k],
            SOURCES["dec"].iloc[k],
        )
        assert (curve.mission, curve.meta["FILTER"]) == ("Roman", "F146")
        assert "SHAPE" not in curve.meta
