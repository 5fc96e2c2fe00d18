"""Saved shape models: our own, and those of psfmachine and roman-lcs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import BSpline

import fields
from romanprf import schemas
from romanprf.errors import InputError
from romanprf.io.tables import read_table, write_table
from romanprf.prf import LogPolarPRF, TensorPRF
from romanprf.prf.exchange import ExchangeBasis
from romanprf.prf.shape_files import read_shape, write_shape

AREA = 0.0121
FACTS = {"mission": "Roman", "field": 3, "detector": "SCA02", "filter": "F146", "jd-obs": 2461450.5}
KEPLER = (10, 15, 1.0, 16.0, 6.0)
#: n_rknots, n_pknots, rmin, rmax, cut_r; the packages' defaults first.  The last: outer knots only.
GEOMETRIES = [
    KEPLER,
    (10, 15, 0.1, 2.0, 0.2),
    (10, 15, 0.02, 0.8, 0.15),
    (12, 15, 1.0, 18.0, 6.0),
    (6, 7, 0.0, 2.2, 0.3),
    (9, 8, 0.01, 1.1, 0.9),
]


def _angular(phi, n):
    """Periodic cubic B-splines, the j-th on the knots j ... j + 4 from -pi."""
    position = (phi + np.pi) / (2.0 * np.pi / n)
    spline = BSpline.basis_element(np.arange(5.0), extrapolate=False)
    copies = [[np.nan_to_num(spline(position - j + n * turn)) for turn in (0, 1)] for j in range(n)]
    return np.sum(copies, axis=1).T


def design_matrix(r, phi, n_rknots, n_pknots, rmin, rmax, cut_r):
    """The basis of the packages for pixels from the centre to rmax, one column at a time."""
    knots = np.linspace(np.sqrt(rmin), np.sqrt(rmax), n_rknots) ** 2
    cut = np.flatnonzero(knots <= cut_r).max()
    every = np.concatenate([[0.0] * 4, knots, [rmax] * 4])
    radial = [np.ones_like(r)]
    for k in range(n_rknots + 4):
        if every[k] < every[k + 4]:
            spline = BSpline.basis_element(every[k : k + 5], extrapolate=False)
            radial.append(np.nan_to_num(spline(r)))
        else:
            radial.append(np.zeros_like(r))
    angular = _angular(phi, n_pknots)
    both = [angular * column[:, None] for column in radial[cut:]]
    return np.column_stack([*both, *radial[1:cut], np.ones_like(r)])


def weights(geometry, seed=5):
    """Random weights of the size of real ones: a falling profile, angular structure and noise."""
    rng = np.random.default_rng(seed)
    size = ExchangeBasis(*geometry).size
    profile = np.linspace(-8.0, -11.0, size) + 0.4 * rng.normal(size=size)
    profile[-1] = 7.5
    return profile


def sky(geometry, n=3000, seed=6):
    """Offsets with radii uniform in sqrt(r), outside the knots where angles may mean nothing."""
    n_rknots, _, rmin, rmax, _ = geometry
    rng = np.random.default_rng(seed)
    innermost = 3 / 8 * (np.sqrt(rmax) - np.sqrt(rmin)) / (n_rknots - 1)
    t = np.linspace(innermost, np.sqrt(rmax) - 1e-9, n)
    return t**2, rng.uniform(-np.pi, np.pi, n)


def foreign(path, geometry, w, **cards):
    """A file as the packages write it."""
    table = fits.BinTableHDU.from_columns([fits.Column(name="psf_w", array=w, format="D")])
    names = ("n_rknots", "n_pknots", "rmin", "rmax", "cut_r")
    header = {"object": "PRF shape", "origin": "PSFmachine.FFIMachine", "mission": "Kepler"}
    header |= {"quarter": 5, "channel": 44, "MJD-OBS": 55000.25, "spln_deg": 3, "norm": "False"}
    for key, value in (header | dict(zip(names, geometry, strict=True)) | cards).items():
        if value is not None:
            table.header[key] = value
    table.writeto(path, checksum=True)
    return path


@pytest.fixture
def model():
    return fields.prf()


def same(a: LogPolarPRF, b: LogPolarPRF) -> None:
    assert_array_equal(a.coefficients, b.coefficients)
    for name in ("n_r", "n_phi", "rmin", "cut_r", "rmax", "pixel_area"):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".FITS"])
def test_own_round_trip_is_exact(model, tmp_path, suffix):
    path = tmp_path / f"shape{suffix}"
    write_shape(path, model, FACTS)
    again, facts = read_shape(path)
    same(again, model)
    assert facts.items() >= FACTS.items()
    expected = {"n_rknots": 12, "n_pknots": 6, "rmin": 0.01, "rmax": 1.1, "cut_r": fields.CUT_R}
    assert facts.items() >= expected.items()
    write_shape(tmp_path / "again.fits", again, facts)
    third, facts_again = read_shape(tmp_path / "again.fits", pixel_area=99.0)
    same(third, model)
    assert facts_again == facts
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "again.fits"])


def test_geometry_keeps_every_bit(tmp_path):
    rng = np.random.default_rng(8)
    for n in range(20):
        numbers = (5, 4, 0.01 * rng.random(), 0.3 * rng.random(), 1 + rng.random(), rng.random())
        size = LogPolarPRF(*numbers, np.empty(0)).size
        odd = LogPolarPRF(*numbers, rng.normal(size=size) * 10.0 ** rng.integers(-300, 300))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_shape(tmp_path / f"{n}.fits", odd, {"mission": "it's 'one' & " * 9 + "/ x"})
            again, facts = read_shape(tmp_path / f"{n}.fits")
        same(again, odd)
        assert facts["mission"] == "it's 'one' & " * 9 + "/ x"


def test_reads_the_table_of_the_workflow(model, tmp_path):
    columns, metadata = model.to_table()
    write_table(tmp_path / "prf.parquet", columns, schemas.PRF, {}, metadata)
    again, facts = read_shape(tmp_path / "prf.parquet")
    same(again, model)
    assert facts["n_rknots"] == model.n_r
    write_shape(tmp_path / "new.parquet", model, {})
    numbers = [name for name in schemas.PRF.names if name != "errors"]  # lists, all empty
    new, old = (read_table(tmp_path / f"{name}.parquet", schemas.PRF) for name in ("new", "prf"))
    assert_array_equal(new[numbers], old[numbers])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_foreign_models_evaluate_as_there(tmp_path, geometry):
    w = weights(geometry)
    path = foreign(tmp_path / "f.fits", geometry, w)
    r, phi = sky(geometry)
    expected = design_matrix(r, phi, *geometry) @ w
    prf, facts = read_shape(path, AREA)
    assert np.ptp(expected) > 1.0
    assert prf.pixel_area == AREA
    assert (facts["quarter"], facts["channel"], facts["mjd-obs"]) == (5, 44, 55000.25)
    left = np.log10(prf.evaluate(r, phi)) - expected
    assert np.abs(left).max() < 1e-3
    assert np.sqrt(np.mean(left**2)) < 1e-4
    assert not prf.evaluate(geometry[3], phi).any()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_foreign_models_survive_saving(tmp_path, geometry):
    w = weights(geometry)
    prf, facts = read_shape(foreign(tmp_path / "f.fits", geometry, w), AREA)
    write_shape(tmp_path / "s.fits", prf, facts)
    same(read_shape(tmp_path / "s.fits")[0], prf)
    header, ours = fits.getheader(tmp_path / "s.fits", 1), fits.getdata(tmp_path / "s.fits", 1)
    kept = tuple(header[k] for k in ("n_rknots", "n_pknots", "rmin", "rmax", "cut_r"))
    assert kept == geometry
    assert (header["MISSION"], header["CHANNEL"], header["ORIGIN"]) == ("Kepler", 44, "romanprf")
    r, phi = sky(geometry)
    matrix = design_matrix(r, phi, *geometry)
    assert_allclose(matrix @ ours["psf_w"], matrix @ w, atol=5e-4)
    with fits.open(tmp_path / "s.fits") as hdus:  # as the packages would save it again
        hdus[1].header["ORIGIN"] = "PSFmachine.FFIMachine"
        hdus[1].header["NORM"] = "False"
        hdus[:2].writeto(tmp_path / "theirs.fits", checksum=True)
    theirs, _ = read_shape(tmp_path / "theirs.fits")
    assert theirs.pixel_area == AREA
    assert_allclose(np.log10(theirs.evaluate(r, phi)), np.log10(prf.evaluate(r, phi)), atol=1e-3)


def test_the_centre_is_the_mean_over_angles():
    """Where only one knot is inside cut_r the packages let the PRF at r = 0 depend on phi."""
    geometry = GEOMETRIES[1]
    w = weights(geometry)
    phi = np.linspace(-np.pi, np.pi, 60, endpoint=False)
    theirs = design_matrix(np.zeros(60), phi, *geometry) @ w
    prf = ExchangeBasis(*geometry).to_prf(w, AREA)
    assert np.ptp(theirs) > 0.1
    assert_allclose(np.log10(prf.evaluate(0.0, phi)), theirs.mean(), atol=2e-3)


def test_own_model_in_their_basis(tmp_path):
    """Their knots are ours, but their splines are cubic in r: close, not equal."""
    prf = fields.prf(n_r=10, n_phi=15, rmax=2.0, structure=0.02)
    write_shape(tmp_path / "s.fits", prf, FACTS)
    header, data = fits.getheader(tmp_path / "s.fits", 1), fits.getdata(tmp_path / "s.fits", 1)
    geometry = (10, 15, 0.01, 2.0, fields.CUT_R)
    assert header["TTYPE1"] == "psf_w"
    assert header["SPLN_DEG"] == 3
    assert header["PIXAREA"] == prf.pixel_area
    t = np.random.default_rng(3).uniform(0.0, np.sqrt(1.999), 4000)
    r, phi = t**2, np.random.default_rng(4).uniform(-np.pi, np.pi, 4000)
    left = design_matrix(r, phi, *geometry) @ data["psf_w"] - np.log10(prf.evaluate(r, phi))
    assert np.sqrt(np.mean(left**2)) < 0.01
    # no other weights come closer
    matrix = design_matrix(r, phi, *geometry)
    best = np.linalg.lstsq(matrix, np.log10(prf.evaluate(r, phi)), rcond=None)[0]
    optimum = matrix @ best - np.log10(prf.evaluate(r, phi))
    assert np.mean(left**2) < 1.3 * np.mean(optimum**2)


def test_order_of_weights_where_cut_r_is_large():
    """The packages list the angular functions in the order of a Python set."""
    basis = ExchangeBasis(9, 12, 0.01, 1.1, 1.1)
    every = set(np.arange(14 * 12)) - set(np.arange(8 * 12))
    assert list(basis._order) == list(every)
    assert list(basis._order) != sorted(every)
    w = weights((9, 12, 0.01, 1.1, 1.1))
    again = basis.weights(basis.to_prf(w, AREA))
    r, phi = sky((9, 12, 0.01, 1.1, 1.1), 500)
    a, b = (basis.to_prf(x, AREA).evaluate(r, phi) for x in (w, again))
    assert_allclose(np.log10(a), np.log10(b), atol=1e-6)


@pytest.mark.parametrize("norm", ["True", 1, "T"])
def test_weights_that_psfmachine_normalised(tmp_path, norm):
    w = 0.56 * weights(KEPLER)
    path = foreign(tmp_path / "f.fits", KEPLER, w, norm=norm)
    with pytest.warns(UserWarning, match=r"f\.fits: norm = .* power log10 of its integral") as seen:
        prf, facts = read_shape(path, AREA)
    assert [warning.filename for warning in seen] == [__file__]
    assert "\n" not in str(seen[0].message)
    r, phi = sky(KEPLER)
    assert_allclose(np.log10(prf.evaluate(r, phi)), design_matrix(r, phi, *KEPLER) @ w, atol=1e-3)
    assert facts["norm"] == norm


@pytest.mark.parametrize("area", [None, 0.0, float("nan")])
def test_pixel_area_is_needed(tmp_path, area):
    path = foreign(tmp_path / "f.fits", KEPLER, weights(KEPLER))
    with pytest.raises(InputError, match=r"f\.fits: .*pixel area"):
        read_shape(path, area)
    stated = foreign(tmp_path / "g.fits", KEPLER, weights(KEPLER), PIXAREA=15.8)
    assert read_shape(stated, area)[0].pixel_area == 15.8


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"n_rknots": None}, "n_rknots is None, expected int"),
        ({"n_rknots": 10.5}, "n_rknots is 10.5, expected int"),
        ({"cut_r": None}, "cut_r is None, expected float"),
        ({"rmax": "wide"}, "rmax is 'wide', expected float"),
        ({"n_rknots": 11}, "169 finite weights psf_w of 169, expected 184"),
        ({"n_rknots": 1}, "n_rknots 1 and n_pknots 15, expected at least"),
        ({"rmin": 20.0}, "rmin 20.0 and rmax 16.0, expected"),
        ({"cut_r": 0.5}, "cut_r 0.5, expected at least rmin 1"),
        ({"spln_deg": 2}, "spln_deg is 2, expected 3"),
    ],
)
def test_headers_that_make_no_sense(tmp_path, cards, message):
    path = foreign(tmp_path / "f.fits", KEPLER, weights(KEPLER), **cards)
    with pytest.raises(InputError, match=message) as caught:
        read_shape(path, AREA)
    assert str(path) in str(caught.value)


def test_weights_that_are_not_finite(tmp_path):
    w = weights(KEPLER)
    w[7] = np.nan
    with pytest.raises(InputError, match="168 finite weights psf_w of 169"):
        read_shape(foreign(tmp_path / "f.fits", KEPLER, w), AREA)


@pytest.mark.parametrize("suffix", [".fits", ".parquet"])
@pytest.mark.parametrize("content", [None, b"", b"no such thing", b"SIMPLE  =", b"PAR1 x"])
def test_files_that_are_something_else(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"x\\{suffix}: ") as caught:
        read_shape(path, AREA)
    assert "\n" not in str(caught.value)


def test_a_table_of_something_else(tmp_path):
    for number, hdu in enumerate([fits.ImageHDU(np.zeros(3)), None, fits.BinTableHDU()]):
        path = tmp_path / f"{number}.fits"
        fits.HDUList([fits.PrimaryHDU(), *([hdu] if hdu else [])]).writeto(path)
        with pytest.raises(InputError, match="expected a table with a column psf_w in HDU 1"):
            read_shape(path, AREA)


@pytest.mark.parametrize("suffix", [".fits", ".parquet"])
def test_damaged_files(model, tmp_path, suffix):
    path = tmp_path / f"whole{suffix}"
    write_shape(path, model, FACTS)
    whole = path.read_bytes()
    for part in (0.3, 0.6, 0.7, 0.95):  # 0.6 of the FITS file: all but the last HDU
        path.write_bytes(whole[: round(part * len(whole))])
        with pytest.raises(InputError, match="whole"):
            read_shape(path)


def test_a_changed_bit_is_noticed(model, tmp_path):
    path = tmp_path / "f.fits"
    write_shape(path, model, FACTS)
    content = bytearray(path.read_bytes())
    for place in (2880 + 90, 5760 + 100, len(content) - 2880 + 40):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"f\.fits"):
            read_shape(path)


def test_a_model_that_is_not_whole(model, tmp_path):
    path = tmp_path / "f.parquet"
    columns, metadata = model.to_table()
    short = {name: column[:-1] for name, column in columns.items()}
    write_table(path, short, schemas.PRF, {}, metadata)
    with pytest.raises(InputError, match=f"finite coefficients of .*, expected {model.size}"):
        read_shape(path)


@pytest.mark.parametrize("name", ["shape", "shape.npz", "shape.fits.gz"])
def test_other_suffixes(model, tmp_path, name):
    with pytest.raises(ValueError, match=r"expected \.parquet or \.fits"):
        write_shape(tmp_path / name, model, {})
    with pytest.raises(ValueError, match=r"expected \.parquet or \.fits"):
        read_shape(tmp_path / name)


@pytest.mark.parametrize("suffix", [".fits", ".parquet"])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"mission": None}, "fact mission = None"),
        ({"jd-obs": np.nan}, "fact jd-obs = nan"),
        ({"filter": "F146\n"}, "fact filter = 'F146.n'"),
        ({"quarters_1": 3}, "fact 'quarters_1', expected a free FITS key"),
        ({"naxis1": 3}, "fact 'naxis1', expected a free FITS key"),
        ({"n_pknots": 15}, "n_pknots 15 and rmax 1.1 are not those of the model, 6 and 1.1"),
    ],
)
def test_facts_that_cannot_be_written(model, tmp_path, suffix, facts, message):
    with pytest.raises(ValueError, match=message):
        write_shape(tmp_path / f"f{suffix}", model, facts)
    assert not list(tmp_path.iterdir())


def test_numpy_facts(model, tmp_path):
    write_shape(tmp_path / "f.parquet", model, {"QUARTER": np.int64(5), "jd-obs": np.float32(2.5)})
    facts = read_shape(tmp_path / "f.parquet")[1]
    assert (facts["quarter"], facts["jd-obs"]) == (5, 2.5)


def test_a_model_that_is_not_fitted(model, tmp_path):
    empty = LogPolarPRF(12, 6, 0.01, 0.05, 1.1, AREA, np.full(model.size, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        write_shape(tmp_path / "f.fits", empty, {})


@pytest.mark.parametrize("suffix", [".fits", ".parquet"])
def test_tensor_models_are_refused(model, tmp_path, suffix):
    jacobian = fields.SCALE * np.eye(2)
    tensor = TensorPRF.projected(model.with_wing(jacobian), 5.0, jacobian)
    with pytest.raises(ValueError, match=r"of log-polar models, and this is a tensor model: save"):
        write_shape(tmp_path / f"f{suffix}", tensor, {})
    columns, metadata = tensor.to_table()
    write_table(tmp_path / "t.parquet", columns, schemas.PRF, {}, metadata)
    with pytest.raises(InputError, match=r"t\.parquet: .*expected a log-polar model, got .*tensor"):
        read_shape(tmp_path / "t.parquet")


def test_a_failed_write_keeps_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "f.fits"
    write_shape(path, model, FACTS)
    before = path.read_bytes()

    def fail(hdus, name, **kwargs):
        name.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(fits.HDUList, "writeto", fail)
    with pytest.raises(OSError, match="disk full"):
        write_shape(path, model, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
