import numpy as np
import pandas as pd
import pytest

from romanprf.config import Crossmatch
from romanprf.sky.crossmatch import match, shift
from romanprf.sky.wcs import ARCSEC, deproject

PIXEL = 0.11
CENTRE = (268.0, -29.2)


def _table(x, y, mag, centre=CENTRE, **columns):
    """A catalogue at (x, y) arcsec from the centre, good to 5 mas, with an odd index."""
    ra, dec = deproject(np.array(x, float) / ARCSEC, np.array(y, float) / ARCSEC, *centre)
    table = {"source_id": np.arange(len(ra)), "ra": ra, "dec": dec, "mag": np.array(mag, float)}
    table |= {"ra_err": 5.0, "dec_err": 5.0, "mag_err": np.nan}
    return pd.DataFrame(table | columns, index=pd.RangeIndex(len(ra)) * 2 + 7)


def _match(catalogue, reference, centre=CENTRE, **settings):
    return match(catalogue, reference, Crossmatch(**settings), *centre)


def _crowded(rng, offset, centre=CENTRE, n=6000, error=0.005):
    """A field of one star per 10 pixels in two catalogues; the row number in both of each star.

    One star in ten is missing from each, and 5 % of each are spurious.
    """
    side = np.sqrt(10 * n) * PIXEL
    x, y = rng.uniform(-0.5, 0.5, (2, n)) * side
    mag = 25 + np.log(rng.uniform(np.exp(0.55 * (15 - 25)), 1, n)) / 0.55  # bulge-like counts
    tables, rows = [], []
    for shift_, colour in (((0.0, 0.0), 0.0), (offset, 1.3)):
        kept = rng.permutation(np.flatnonzero(rng.uniform(size=n) > 0.1))
        extra = rng.uniform(-0.5, 0.5, (2, n // 20)) * side
        position = [
            np.append(v[kept] + rng.normal(0, error, len(kept)) + s, e)
            for v, s, e in zip((x, y), shift_, extra, strict=True)
        ]
        spurious = rng.uniform(18, 25, n // 20)
        magnitude = np.append(mag[kept] + colour + rng.normal(0, 0.2, len(kept)), spurious)
        tables.append(_table(*position, magnitude, centre))
        row = np.full(n, -1)
        row[kept] = np.arange(len(kept))
        rows.append(row)
    return tables, rows, mag


@pytest.mark.parametrize(
    ("offset", "centre"),
    [
        ((0.0, 0.0), CENTRE),
        ((0.2, 0.0), CENTRE),
        ((-0.12, 0.16), (0.0, 10.0)),
        ((0.15, 0.1), (33.0, -89.9)),
        ((-0.25, 0.0), (359.9999, 89.999)),
    ],
)
def test_crowded_field_with_an_offset(offset, centre):
    (catalogue, reference), (ours, theirs), mag = _crowded(np.random.default_rng(3), offset, centre)
    found = _match(catalogue, reference, centre)
    np.testing.assert_array_less(np.abs(found.offset - offset), 5 * found.offset_err)
    assert (found.offset_err < 3e-4).all()
    assert found.magnitude_offset == pytest.approx(-1.3, abs=0.02)

    partner = np.full(len(catalogue), -1)
    partner[found.catalogue] = found.reference
    both = (ours >= 0) & (theirs >= 0) & (mag < 21)
    assert both.sum() > 500
    completeness = np.mean(partner[ours[both]] == theirs[both])
    bright = np.flatnonzero((ours >= 0) & (mag < 21))
    matched = partner[ours[bright]]
    false = np.mean((matched != theirs[bright])[matched >= 0])
    assert completeness >= 0.98
    assert false <= 0.01
    # one to one
    assert (
        len(np.unique(found.catalogue)) == len(np.unique(found.reference)) == len(found.catalogue)
    )


def test_offset_error_is_honest():
    pulls = []
    for seed in range(40):
        (catalogue, reference), _, _ = _crowded(np.random.default_rng(seed), (0.1, -0.05), n=300)
        found = _match(catalogue, reference)
        pulls.append((found.offset - [0.1, -0.05]) / found.offset_err)
    assert 0.75 < np.std(pulls) < 1.3
    assert abs(np.mean(pulls)) < 0.45


def test_order_of_rows_does_not_matter():
    (catalogue, reference), _, _ = _crowded(np.random.default_rng(5), (0.1, 0.1), n=500)
    found = _match(catalogue, reference)
    rng = np.random.default_rng(6)
    i, j = rng.permutation(len(catalogue)), rng.permutation(len(reference))
    again = _match(catalogue.iloc[i], reference.iloc[j])
    pairs = set(zip(found.catalogue, found.reference, strict=True))
    assert set(zip(i[again.catalogue], j[again.reference], strict=True)) == pairs
    np.testing.assert_array_equal(again.offset, found.offset)


def test_magnitude_decides_between_equally_close_candidates():
    # colours of five isolated stars fix the magnitude offset at 0
    x, y, mag = np.arange(5) * 3.0, np.zeros(5), np.full(5, 20.0)
    catalogue = _table([*x, 20.0], [*y, 0], [*mag, 18.0])
    reference = _table([*x, 20.005, 19.995], [*y, 0, 0], [*mag, 19.0, 18.1])
    found = _match(catalogue, reference)
    assert found.catalogue.tolist() == list(range(6))
    assert found.reference.tolist() == [0, 1, 2, 3, 4, 6]
    assert found.ambiguous.tolist() == [False] * 6  # the other is (1.0 - 0.1) / 0.3 = 3 sigma off
    assert found.separation[5] == pytest.approx(0.005, abs=1e-6)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(("second", "ambiguous"), [(0.010, True), (0.025, False)])
def test_ambiguous_where_a_second_candidate_of_either_side_is_nearly_as_good(
    swap, second, ambiguous
):
    # 1 sigma of a pair is 0.00707 arcsec per axis: chi2 of the second is 2 or 12.5
    x, y, mag = np.arange(5) * 3.0, np.zeros(5), np.full(5, 20.0)
    one = _table([*x, 20.0], [*y, 0], [*mag, 20.0])
    two = _table([*x, 20.0, 20.0 + second], [*y, 0, 0], [*mag, 20.0, 20.0])
    found = _match(two, one) if swap else _match(one, two)
    assert found.catalogue.tolist() == found.reference.tolist() == list(range(6))
    assert found.ambiguous.tolist() == [False] * 5 + [ambiguous]


@pytest.mark.parametrize("part", [0.3, 0.8])
def test_stars_of_unknown_motion_do_not_give_the_offset(part):
    rng = np.random.default_rng(11)
    x, y = rng.uniform(-20.0, 20.0, (2, 400))
    unknown = rng.random(400) < part  # moved by what all stars have in common
    catalogue = _table(x, y, np.full(400, 20.0))
    error = np.where(unknown, 45.0, 1.0)
    drift = 0.07 * unknown
    reference = _table(x + drift, y, np.full(400, 20.0), ra_err=error, dec_err=error)
    np.testing.assert_allclose(_match(catalogue, reference).offset, 0.0, atol=1e-9)


def test_too_far_in_sigmas_is_no_match():
    x, y, mag = np.arange(5) * 3.0, np.zeros(5), np.full(5, 20.0)
    reference = _table([*x, 20.0, 30.0, 40.0], [*y, 0, 0, 0], [*mag, 20, 20, 20])
    catalogue = _table([*x, 20.04, 30.0, 40.03], [*y, 0, 0, 0], [*mag, 20, 22, 20])
    assert _match(catalogue, reference).catalogue.tolist() == [0, 1, 2, 3, 4, 7]
    narrow = _match(catalogue, reference, match_sigma=3.0)
    assert narrow.catalogue.tolist() == [0, 1, 2, 3, 4]
    # with larger errors they are close
    catalogue["ra_err"] = catalogue["dec_err"] = 20.0
    catalogue["mag_err"] = 0.5
    assert _match(catalogue, reference).catalogue.tolist() == list(range(8))


def test_one_pair():
    found = _match(_table([0.0], [0.0], [20]), _table([0.01], [0.0], [22]))
    assert found.reference.tolist() == [0]
    np.testing.assert_allclose(found.offset, [0.01, 0.0], atol=1e-9)
    np.testing.assert_allclose(found.offset_err, np.sqrt(np.pi / 2) * np.hypot(0.005, 0.005))
    assert found.magnitude_offset == pytest.approx(-2)


@pytest.mark.parametrize(("n", "m", "x"), [(0, 0, 0.0), (0, 2, 0.0), (2, 0, 0.0), (2, 2, 60.0)])
def test_nothing_to_match(n, m, x):
    found = _match(
        _table([0.0, 5][:n], [0.0] * n, [20] * n), _table([x, -x][:m], [9] * m, [20] * m)
    )
    assert len(found.catalogue) == len(found.reference) == len(found.ambiguous) == 0
    assert found.offset.tolist() == [0.0, 0.0]
    assert np.isnan(found.offset_err).all()


def test_shift_is_undone_by_its_opposite():
    ra, dec = np.array([359.99999, 0.00001]), np.array([10.0, 10.0001])
    moved = shift(ra, dec, np.array([0.2, -0.1]), 0.0, 10.0)
    back = shift(*moved, np.array([-0.2, 0.1]), 0.0, 10.0)
    np.testing.assert_allclose(moved[1] - dec, -0.1 / ARCSEC, rtol=1e-6)
    np.testing.assert_allclose(back, (ra, dec), atol=1e-12)
