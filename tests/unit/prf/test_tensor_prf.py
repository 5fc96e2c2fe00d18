import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fields
from romanprf import schemas
from romanprf.frame.stamps import make_stamps
from romanprf.io.tables import read_metadata, read_table, write_table
from romanprf.prf import TensorPRF
from romanprf.solve.normal import normal_matrix

SHAPE = (40, 44)
ANGLES = np.linspace(0.0, 2.0 * np.pi, 200)
ANGLE = 0.7
#: Turned, with east to the left.
JACOBIAN = fields.SCALE * np.array(
    [[-np.cos(ANGLE), -np.sin(ANGLE)], [-np.sin(ANGLE), np.cos(ANGLE)]]
)


def gaussian(fwhm):
    sigma = fwhm / np.sqrt(8.0 * np.log(2.0))
    return lambda dx, dy: np.exp(-0.5 * (dx**2 + dy**2) / sigma**2) / (2.0 * np.pi * sigma**2)


def winged(dx, dy):
    """Lopsided, with wings r^-3."""
    r2 = (dx**2 + (1.2 * dy) ** 2) / 0.6
    return 0.3 * (1.0 + r2) ** -1.5 * (1.0 + 0.1 * np.tanh(dx - 0.5 * dy))


@pytest.fixture(scope="module")
def model():
    return TensorPRF.projected(winged, 12.0, JACOBIAN)


@pytest.fixture(scope="module")
def varying():
    """Two rows of three nodes that all differ, with two likely errors."""
    rng = np.random.default_rng(44)
    one = TensorPRF.projected(winged, 8.0, JACOBIAN)
    light = rng.uniform(0.8, 1.2, 6)[:, None, None]
    coefficients = light * (one.mean + 0.01 * rng.normal(size=(6, *one.mean.shape)))
    errors = 0.01 * rng.normal(size=(2, *coefficients.shape))
    rows, columns = np.array([0.0, 39.0]), np.array([0.0, 20.0, 43.0])
    return replace(one, coefficients=coefficients, rows=rows, columns=columns, errors=errors)


# the error falls with the fourth power of the spacing of the knots over the width
@pytest.mark.parametrize(("fwhm", "error"), [(1.0, 1e-2), (1.4, 2e-3), (1.7, 1e-3), (2.4, 2e-4)])
def test_projection_follows_a_gaussian(fwhm, error):
    prf = gaussian(fwhm)
    fitted = TensorPRF.projected(prf, 15.0, JACOBIAN)
    dx, dy = np.random.default_rng(41).uniform(-5.0, 5.0, (2, 20_000))
    assert np.abs(fitted.on_pixels(dx, dy) - prf(dx, dy)).max() < error * prf(0.0, 0.0)
    assert fitted.integral() == pytest.approx(1.0, abs=1e-6)
    assert fitted.reach >= 15.0


def test_a_function_of_the_model_is_projected_on_itself(model):
    again = TensorPRF.projected(winged, model.reach * (1.0 - 1e-9), JACOBIAN)
    assert_allclose(again.coefficients, model.coefficients, atol=1e-12)
    knots = model.knots
    n = model.intervals + 3
    assert model.coefficients.shape == (1, n, n)
    assert model.centres().size == n
    assert_allclose(np.arcsinh(model.reach / (model.centres()[-1])), np.arcsinh(1.0), atol=0.2)
    assert knots[3] == -knots[-4]


def test_integral_is_the_sum_over_pixels(model):
    pixels = np.arange(-16, 17)
    phases = (np.arange(16) + 0.5) / 16 - 0.5
    sums = [model.on_pixels(pixels - u, pixels[:, None] - v).sum() for u in phases for v in phases]
    r = model.reach * (1.0 - 1e-3)
    edge = model.on_pixels(r * np.cos(ANGLES), r * np.sin(ANGLES)).mean()
    assert np.mean(sums) + 2.0 * np.pi * edge * r**2 == pytest.approx(model.integral(), rel=1e-4)
    assert np.ptp(sums) > 1e-3
    assert model.brightened(1.7).integral() == pytest.approx(1.7 * model.integral(), rel=1e-14)


def test_limits(model):
    assert_array_equal(model.on_pixels([model.reach, 0.0, 99.0], [0.0, -model.reach, 3.0]), 0.0)
    corner = 0.8 * model.reach
    assert model.on_pixels(corner, corner) == 0.0
    assert model.on_pixels(np.nan, 0.0) == 0.0
    assert model.on_pixels(0.0, 0.0).shape == ()
    assert model.on_pixels(np.zeros((3, 1)), np.zeros(4)).shape == (3, 4)
    for offset in (model.reach * (1.0 - 1e-15), -model.reach * (1.0 - 1e-15)):
        assert model.on_pixels(offset, 0.0) > 0.0


def test_evaluate_turns_the_sky_to_pixels(model):
    dx, dy = np.random.default_rng(42).uniform(-9.0, 9.0, (2, 6, 50))
    east = fields.SCALE * (-np.cos(ANGLE) * dx - np.sin(ANGLE) * dy)
    north = fields.SCALE * (-np.sin(ANGLE) * dx + np.cos(ANGLE) * dy)
    sky = model.evaluate(np.hypot(east, north), np.arctan2(north, east))
    assert_allclose(sky, model.on_pixels(dx, dy), atol=1e-13)
    turned = model.evaluate(np.hypot(east, north), np.arctan2(north, east) + 0.5)
    assert np.abs(turned - sky).max() > 1e-3


def test_radius_falls_with_the_threshold(model):
    threshold = np.logspace(-8, 1, 200)
    radius = model.radius(threshold)
    assert (np.diff(radius) <= 0.0).all()
    assert radius[0] == pytest.approx(model.rmax)
    assert radius[-1] == 0.0
    phi = np.linspace(-np.pi, np.pi, 24, endpoint=False)
    for r, limit in zip(radius, threshold, strict=True):
        if 0.05 < r < 0.95 * model.rmax:
            beyond = model.evaluate(np.linspace(r, model.rmax, 200)[:, None], phi).mean(axis=1)
            assert 0.8 * limit < beyond.max() <= limit * (1.0 + 1e-3)


def test_envelope_falls_outwards(model):
    envelope = model.envelope()
    middle = len(envelope) // 2
    assert (envelope > 0.0).all()
    assert (np.diff(envelope[middle, middle:]) <= 0.0).all()
    assert envelope.max() == pytest.approx(winged(0.0, 0.0), rel=0.02)


def test_table_round_trip(model, tmp_path):
    columns, metadata = model.to_table()
    path = tmp_path / "prf.parquet"
    write_table(path, columns, schemas.PRF, {}, metadata)
    again = TensorPRF.from_table(read_table(path, schemas.PRF), read_metadata(path, schemas.PRF))
    assert_array_equal(again.coefficients, model.coefficients)
    assert_array_equal(again.jacobian, model.jacobian)
    assert (again.intervals, again.pixel_area) == (model.intervals, model.pixel_area)
    assert again.errors.size == 0
    assert len(set(zip(columns["i"], columns["j"], strict=True))) == model.coefficients.size


def test_table_keeps_nodes_and_errors(varying, tmp_path):
    columns, metadata = varying.to_table()
    path = tmp_path / "prf.parquet"
    write_table(path, columns, schemas.PRF, {}, metadata)
    again = TensorPRF.from_table(read_table(path, schemas.PRF), read_metadata(path, schemas.PRF))
    assert again.errors.shape == varying.errors.shape
    for name in ("coefficients", "rows", "columns"):
        assert_array_equal(getattr(again, name), getattr(varying, name))
    assert_array_equal(again.errors, varying.errors.astype(np.float32))
    assert np.abs(again.errors).min() > 0.0
    assert set(columns["node"]) == set(range(6))


def test_a_table_of_another_model_is_refused(model):
    columns, metadata = model.to_table()
    other = {"model": json.dumps(json.loads(metadata["model"]) | {"kind": "log-polar"})}
    with pytest.raises(ValueError, match="expected a tensor model"):
        TensorPRF.from_table(columns, other)


def _stamps(prf, x, y, flux, points=1, pixel_area=None):
    wcs = fields.wcs(*SHAPE)
    ra, dec = wcs.pixel_to_sky(np.asarray(x, float), np.asarray(y, float))
    return make_stamps(
        prf,
        fields.frame(ra, dec, wcs, SHAPE, pixel_area),
        np.asarray(flux, float),
        1e-9,
        points=points,
    )


def test_stamps_are_the_prf_at_the_pixels(model):
    stamps = _stamps(model, [20.3, -1.4, -60.0], [11.9, 39.2, 10.0], [9e9, 9e9, 9e9])
    row, column = np.indices(SHAPE)
    for s, flux in enumerate(np.eye(3)):
        expected = model.on_pixels(column - stamps.x[s], row - stamps.y[s])
        assert_allclose(stamps.model(flux), expected, rtol=1e-6, atol=1e-12)
    assert stamps.offset[2] == stamps.offset[3]


def test_light_does_not_depend_on_the_area_of_the_pixels():
    """A pixel's share of the flux is what the model says, wherever the WCS puts its corners."""
    here = TensorPRF.projected(gaussian(1.6), 6.0, JACOBIAN)
    stretched = TensorPRF.projected(gaussian(1.6), 6.0, 1.03 * JACOBIAN)
    light = [_stamps(m, [20.2], [19.7], [9e9]).values.sum() for m in (here, stretched)]
    assert light[1] == pytest.approx(light[0], rel=1e-6)
    assert light[0] == pytest.approx(here.integral(), rel=1e-3)  # differs with the phase
    area = float(fields.wcs(*SHAPE).pixel_area(20.2, 19.7))
    double = _stamps(here, [20.2], [19.7], [9e9], pixel_area=2.0 * area)
    assert double.values.sum() == pytest.approx(2.0 * light[0], rel=1e-6)


def test_stamps_end_where_the_model_does(model):
    """A frame of smaller pixels asks for a larger radius than the model has."""
    x, y, radius = np.array([20.0]), np.array([20.0]), np.array([60.0])
    window, offset = np.array([[0, 40, 0, 44]], np.int32), np.array([0, 40 * 44])
    values = model.fill_stamps(x, y, radius, JACOBIAN[None], np.ones(1), window, offset)
    row, column = np.indices(SHAPE)
    expected = model.on_pixels(column - 20, row - 20)
    assert_allclose(values.reshape(SHAPE), expected, rtol=3e-7, atol=1e-7 * expected.max())


def test_normal_equations_find_the_fluxes(model):
    rng = np.random.default_rng(43)
    x, y = rng.uniform(-2.0, 44.0, 60), rng.uniform(-2.0, 40.0, 60)
    flux = 10.0 ** rng.uniform(1.0, 4.0, 60)
    stamps = _stamps(model, x, y, flux)
    weight = rng.uniform(0.1, 0.3, SHAPE)
    image = stamps.model(flux)
    prior_mu, prior_sigma = flux * rng.uniform(0.9, 1.1, 60), np.full(60, 1e6)
    matrix = normal_matrix(stamps, weight, prior_sigma).toarray()
    vector = stamps.dot(weight * image) + prior_mu / prior_sigma**2
    found = np.linalg.solve(matrix, vector)
    assert_allclose(found, flux, rtol=1e-5, atol=1e-3)


# nodes


def test_one_prf_at_all_nodes(model):
    spread = model.with_nodes(3, SHAPE)
    assert spread.grid == (3, 3)
    assert_array_equal(spread.rows, [0.0, 19.5, 39.0])
    assert_array_equal(spread.columns, [0.0, 21.5, 43.0])
    assert spread.coefficients.shape == (9, *model.mean.shape)
    assert_allclose(spread.mean, model.mean, rtol=1e-14)
    stars = [3.2, 20.0, 50.0], [11.9, 39.0, -3.0], [9e9, 9e9, 9e9]
    values = [_stamps(prf, *stars).values for prf in (spread, model)]
    assert_allclose(*values, rtol=3e-7, atol=1e-7 * values[1].max())
    assert spread.integral() == pytest.approx(model.integral(), rel=1e-12)


def test_shares_are_those_of_a_bilinear_change(varying):
    x, y = np.random.default_rng(45).uniform(-5.0, 48.0, (2, 300))
    node, share = varying.shares(x, y)
    assert node.shape == share.shape == (300, 4)
    assert_allclose(share.sum(axis=1), 1.0, rtol=1e-14)
    assert share.min() >= 0.0
    down, across = np.divmod(np.arange(6), 3)
    places = varying.columns[across], varying.rows[down]
    inside = np.clip(x, 0.0, 43.0), np.clip(y, 0.0, 39.0)  # beyond the nodes nothing changes
    for at_nodes, expected in zip(places, inside, strict=True):
        assert_allclose((share * at_nodes[node]).sum(axis=1), expected, atol=1e-12)
    products = (share * (places[0] * places[1])[node]).sum(axis=1)
    assert_allclose(products, inside[0] * inside[1], atol=1e-10)


def test_shares_at_the_nodes_and_of_one_node(varying, model):
    x, y = (a.ravel() for a in np.meshgrid(varying.columns, varying.rows))
    node, share = varying.shares(x, y)
    assert_array_equal(share.max(axis=1), 1.0)
    assert_array_equal(node[np.arange(6), share.argmax(axis=1)], np.arange(6))
    node, share = model.shares(x, y)
    assert_array_equal(node, np.zeros((6, 1)))
    assert_array_equal(share, np.ones((6, 1)))


def test_prf_at_a_place_is_that_of_the_stars_there(varying):
    middle = varying.at(10.0, 39.0)
    assert middle.grid == (1, 1)
    assert_allclose(middle.mean, 0.5 * varying.coefficients[3:5].sum(axis=0), rtol=1e-13)
    x, y = [4.3, 20.3, 41.6], [30.9, 11.9, -2.2]
    stamps = _stamps(varying, x, y, [9e9, 9e9, 9e9])
    row, column = np.indices(SHAPE)
    for s, flux in enumerate(np.eye(3)):
        here = varying.at(x[s], y[s]).on_pixels(column - stamps.x[s], row - stamps.y[s])
        # radii are those of the mean over the nodes
        near = np.hypot(column - stamps.x[s], row - stamps.y[s]) <= stamps.radius[s]
        assert_allclose(stamps.model(flux), np.where(near, here, 0.0), atol=1e-7)
    peaks = [varying.at(*place).on_pixels(0.0, 0.0) for place in zip(x, y, strict=True)]
    assert np.ptp(peaks) > 0.01


def test_seen_from_a_pixel(varying):
    x, y = np.random.default_rng(9).uniform(0.0, 20.0, (2, 30))
    part = varying.seen_from(5, 8)
    assert_array_equal(part.shares(x - 5, y - 8)[0], varying.shares(x, y)[0])
    assert_allclose(part.shares(x - 5, y - 8)[1], varying.shares(x, y)[1], atol=1e-14)
    assert_array_equal(part.radius(1e-4), varying.radius(1e-4))


def test_levelled_nodes_have_the_same_light(varying):
    def light(prf):
        d = np.linspace(-6.0, 6.0, 601)
        near = np.hypot(d, d[:, None]) < 6.0
        places = [(x, y) for y in prf.rows for x in prf.columns]
        return [np.sum(prf.at(*p).on_pixels(d, d[:, None]) * near) * 0.02**2 for p in places]

    before, levelled = light(varying), varying.levelled()
    assert np.ptp(before) > 0.1
    assert_allclose(light(levelled), np.mean(before), rtol=2e-3)
    ratio = levelled.coefficients / varying.coefficients
    assert_allclose(np.ptp(ratio, axis=(1, 2)), 0.0, atol=1e-10)  # their shapes stay
    assert_allclose(levelled.levelled().coefficients, levelled.coefficients, rtol=1e-12)


def test_likely_errors_are_models_of_the_same_footprints(varying, model):
    likely = list(varying.likely_errors(with_scale=False))
    assert len(likely) == varying.n_errors == 2
    stars = [4.3, 20.3, 41.6], [30.9, 11.9, -2.2], [100.0, 3000.0, 40.0]
    reference = _stamps(varying, *stars)
    for error, coefficients in zip(likely, varying.errors, strict=True):
        stamps = _stamps(error, *stars)
        assert_array_equal(stamps.window, reference.window)
        both = replace(varying, coefficients=varying.coefficients + coefficients)
        both = both.with_footprints_of(varying)
        change = _stamps(both, *stars).values - reference.values
        assert_allclose(stamps.values, change, rtol=0, atol=2e-7 * reference.values.max())
        assert np.abs(change).max() > 1e-3
    assert list(model.likely_errors(with_scale=False)) == []


def test_errors_are_brightened_with_the_model(varying):
    bright = varying.brightened(1.7)
    assert_allclose(bright.errors, 1.7 * varying.errors, rtol=1e-14)
    assert bright.integral() == pytest.approx(1.7 * varying.integral(), rel=1e-12)


def test_error_of_the_scale_adds_to_the_others(varying):
    uncertain = replace(varying, scale_error=0.003)
    squares = (varying.errors**2).mean(axis=0)
    for with_scale, factor in ((True, 0.003), (False, 0.0)):
        likely = [error.coefficients for error in uncertain.likely_errors(with_scale)]
        expected = squares + (factor * varying.coefficients) ** 2
        assert_allclose(np.mean(np.square(likely), axis=0), expected, rtol=1e-12)
    unknown = replace(uncertain, errors=varying.errors[:0])
    assert not list(unknown.likely_errors(with_scale=True))  # one that does not know its errors
