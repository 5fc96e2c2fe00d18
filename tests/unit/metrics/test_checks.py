"""Each check passes on the tables of a good reduction, and fails on bad ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from romanprf import run, schemas
from romanprf.flags import ExposureFlag, SourceFlag
from romanprf.io.tables import write_table
from romanprf.metrics.checks import CHECKS, check, failures
from romanprf.metrics.quantities import Tables, bright

N = 2000


@pytest.fixture
def good() -> Tables:
    """Tables of 2000 catalogued stars, 20 found ones and 10 frames."""
    rng = np.random.default_rng(8)
    flux = 10.0 * rng.random(N) ** -2.0  # number brighter than f: f^-0.5
    catalogue = pd.DataFrame({"source_id": np.arange(N), "flux": flux, "origin": "catalogue"})
    catalogue = catalogue.assign(ra=268.0 + 0.01 * rng.random(N), dec=-29.2, epoch=2027.0)
    catalogue = catalogue.assign(pmra=0.0, pmdec=0.0, ra_err=10.0, dec_err=20.0)
    east, north = rng.normal(0.0, 1.0, (2, N)) / 3.6e6
    sources = catalogue.assign(
        ra=catalogue["ra"] + 10.0 * east / np.cos(np.deg2rad(-29.2)),
        dec=catalogue["dec"] + 20.0 * north,
        ra_err=0.1,
    )
    found = sources.iloc[:20].assign(source_id=-1 - np.arange(20), origin="residual", flux=9.0)
    sources = pd.concat([sources, found], ignore_index=True)
    metrics = pd.DataFrame({"flux": sources["flux"], "median_flux": 1.01 * sources["flux"]})
    metrics = metrics.assign(n_good=10, expected_scatter=2.5, flags=0)
    stats = pd.DataFrame({"chi2": rng.uniform(0.9, 1.1, 10), "n_outliers": 12, "n_pixels": 16000})
    stats = stats.assign(background=0.5, residual_rms=0.8, flags=0)
    rounds, shifts = [{"scale": 0.98}, {"scale": 1.001}], [{"x": 0.0}] * 10
    search = {"threshold": 5.0, "rounds": [{"n_found": 25, "n_negative": 4}]}
    return Tables(
        prf={"integral": "1.01", "rounds": json.dumps(rounds), "shifts": json.dumps(shifts)},
        search={"search": json.dumps(search)},
        catalogue=catalogue,
        sources=sources,
        metrics=metrics,
        frame_stats=stats,
        flags=np.zeros(1000, int),
    )


def rounds(tables: Tables, **values) -> dict[str, str]:
    return {**tables.prf, "rounds": json.dumps([values])}


def searched(n_negative: int) -> dict[str, str]:
    found = [{"n_found": 202, "n_negative": n_negative}]
    return {"search": json.dumps({"threshold": 5.0, "rounds": found})}


def flags(flag: SourceFlag, number: int) -> np.ndarray:
    return np.where(np.arange(1000) < number, int(flag), 0)


def frames(tables: Tables, **columns) -> Tables:
    return replace(tables, frame_stats=tables.frame_stats.assign(**columns))


def with_false_stars(tables: Tables) -> Tables:
    sources = tables.sources
    new = sources.iloc[-1:].assign(flux=50.0)
    sources = pd.concat([sources, *[new] * 1500], ignore_index=True)
    metrics = pd.concat([tables.metrics, *[tables.metrics.iloc[-1:]] * 1500], ignore_index=True)
    return replace(tables, sources=sources, metrics=metrics)


def moved(tables: Tables, factor: float, number: int) -> Tables:
    """The corrections of the brightest stars, stretched."""
    which = tables.sources["flux"].nlargest(number).index
    sources = tables.sources.copy()
    for name in ("ra", "dec"):
        old = tables.catalogue[name]
        sources.loc[which, name] = old[which] + factor * (sources[name] - old)[which]
    return replace(tables, sources=sources)


#: Name of a check -> what makes it fail, alone or with others.
FAULTS = {
    "prf_integral": lambda t: replace(t, prf={**t.prf, "integral": "0.8"}),
    "last_scale": lambda t: replace(t, prf=rounds(t, scale=1.01)),
    "flux_ratio": lambda t: replace(
        t, metrics=t.metrics.assign(median_flux=1.2 * t.metrics["flux"])
    ),
    "chi2_median": lambda t: frames(t, chi2=8.0),
    "chi2_worst": lambda t: frames(t, chi2=[1.0] * 9 + [15.0]),
    "outliers": lambda t: frames(t, n_outliers=160),
    "outliers_in_cores": lambda t: replace(t, flags=flags(SourceFlag.OUTLIER, 80)),
    "background_spread": lambda t: frames(t, background=np.linspace(0.0, 5.0, 10)),
    "background_lowest": lambda t: frames(t, background=[0.5] * 9 + [-1.0]),
    "false_peaks": lambda t: replace(t, search=searched(287)),
    "stars_found": with_false_stars,
    "positions_rms": lambda t: moved(t, 2.0, N),
    "positions_largest": lambda t: moved(t, 10.0, 3),
    "frames_unusable": lambda t: frames(t, flags=[int(ExposureFlag.UNUSABLE)] + [0] * 9),
    "frames_not_converged": lambda t: frames(t, flags=[int(ExposureFlag.NOT_CONVERGED)] + [0] * 9),
    "degenerate": lambda t: replace(t, flags=flags(SourceFlag.DEGENERATE, 150)),
    "prior": lambda t: replace(t, flags=flags(SourceFlag.PRIOR, 150)),
}
#: What leaves checks without a value -> their names.
NOTHING = {
    "prf": (lambda t: replace(t, prf={}), {"prf_integral", "last_scale", "stars_found"}),
    "search": (lambda t: replace(t, search={}), {"false_peaks", "stars_found"}),
    "rounds of the search": (
        lambda t: replace(t, search={"search": '{"threshold": 5.0, "rounds": []}'}),
        {"false_peaks", "stars_found"},
    ),
    "corrections": (
        lambda t: replace(t, sources=t.catalogue, metrics=t.metrics.iloc[:N]),
        {"positions_rms", "positions_largest"},
    ),
    "errors of positions": (
        lambda t: replace(t, catalogue=t.catalogue.assign(ra_err=np.nan)),
        {"positions_rms", "positions_largest"},
    ),
    "measurements": (
        lambda t: replace(t, flags=np.full(9, int(SourceFlag.BAD_EXPOSURE))),
        {"outliers_in_cores", "degenerate", "prior"},
    ),
    "fluxes": (
        lambda t: replace(t, metrics=t.metrics.assign(n_good=0, expected_scatter=np.nan)),
        {"flux_ratio", "stars_found"},
    ),
    "frames": (
        lambda t: replace(t, frame_stats=t.frame_stats.iloc[:0]),
        {each.name for each in CHECKS if "frame" in each.quantity or "background" in each.name},
    ),
}


def failed(tables: Tables) -> set[str]:
    return set(failures(check(tables))["check"])


def test_good_tables_pass(good):
    table = check(good)
    assert table["check"].tolist() == [each.name for each in CHECKS]
    assert table["passed"].all(), table[~table["passed"]]
    assert np.isfinite(table["value"]).all()


def test_each_check_has_a_fault_and_a_row_of_the_documentation():
    assert set(FAULTS) == {each.name for each in CHECKS}
    page = Path(__file__).resolve().parents[3] / "docs" / "reference" / "checks.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert rows == [f"| `{c.name}` | {c.quantity} | {c.limits} | {c.suspect} |" for c in CHECKS]


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(good, name):
    found = failed(FAULTS[name](good))
    assert name in found
    assert len(found) <= 2
    [message] = check(FAULTS[name](good)).set_index("check")["message"][[name]]
    assert ", expected " in message
    assert "; " in message


@pytest.mark.parametrize("missing", NOTHING)
def test_what_is_missing_does_not_pass(good, missing):
    change, names = NOTHING[missing]
    table = check(change(good)).set_index("check")
    assert set(table.index[~table["passed"]]) == names
    for name in names:
        assert np.isnan(table["value"][name])
        assert ": not measured (" in table["message"][name]


def test_expected_stars_are_those_behind_the_end_of_the_catalogue(good):
    """A catalogue cut at 90 e-/s, three times above where the search is complete."""
    kept = ((good.sources["flux"] > 90.0) & (good.sources["origin"] == "catalogue")).to_numpy()
    others = ~kept & (good.sources["flux"] > 16.0).to_numpy()
    origin = np.where(kept, "catalogue", "residual")
    complete = replace(
        good,
        sources=good.sources.assign(origin=origin)[kept | others],
        metrics=good.metrics[kept | others],
    )
    value = check(complete).set_index("check")["value"]["stars_found"]
    assert abs(value) < 1.0
    none = replace(complete, sources=complete.sources[kept[kept | others]])
    none = replace(none, metrics=complete.metrics[kept[kept | others]])
    assert check(none).set_index("check")["value"]["stars_found"] == pytest.approx(-2.0, abs=0.1)


def test_motion_is_no_correction(good):
    """The same stars, listed five years later."""
    later = good.sources.assign(epoch=2032.0, pmra=6.0, pmdec=-4.0)
    later["ra"] += 30.0 / 3.6e6 / np.cos(np.deg2rad(later["dec"]))
    later["dec"] -= 20.0 / 3.6e6
    before, after = (check(t).set_index("check") for t in (good, replace(good, sources=later)))
    names = ["positions_rms", "positions_largest"]
    np.testing.assert_allclose(after["value"][names], before["value"][names], rtol=1e-4)


def test_the_worst_comes_first(good):
    bad = frames(good, chi2=60.0, n_outliers=100)
    bad = replace(bad, search={}, prf={**good.prf, "integral": "0.89"})
    order = failures(check(bad))["check"].tolist()
    assert order[:4] == ["chi2_median", "chi2_worst", "outliers", "prf_integral"]
    assert set(order[4:]) == {"false_peaks", "stars_found"}


def test_bright_sources_are_a_tenth():
    assert bright(np.arange(100.0)).sum() == 10
    assert bright(np.empty(0)).size == 0


def test_a_run_ends_with_its_warnings(good, tmp_path, capsys):
    path = tmp_path / "checks.parquet"
    assert run.verdict(path) == "No checks were made."
    for tables, start in [
        (good, "0 warnings."),
        (frames(good, chi2=[1.0] * 9 + [15.0]), "1 warning: chi2 of the pixels of the worst"),
        (frames(good, chi2=30.0), "2 warnings, the worst: chi2 of the pixels, median"),
    ]:
        write_table(path, check(tables), schemas.CHECKS, {})
        assert run.verdict(path).startswith(start)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == int(start[0])
        assert all(line.startswith("romanprf warning: chi2") for line in said)
