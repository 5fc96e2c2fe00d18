"""The diagnostic pictures of a shape model and of a source mask."""

from __future__ import annotations

import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import LogNorm
from numpy.testing import assert_allclose

from romanprf.plots.shape_model import shape_model_figure
from romanprf.plots.source_mask import source_mask_figure
from romanprf.plots.style import drawing, save

pytestmark = pytest.mark.filterwarnings("error")
TREND = np.poly1d([-1.5, -0.5])


def texts(figure) -> str:
    """All that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def pixels(n: int, rmax: float, noise: float = 0.1):
    """Offsets, data and model of a Gaussian PRF whose width is a quarter of ``rmax``."""
    rng = np.random.default_rng(3)
    r, phi = rmax * np.sqrt(rng.uniform(size=n)), rng.uniform(-np.pi, np.pi, n)
    model = 0.3 * np.exp(-0.5 * (4.0 * r / rmax) ** 2)
    value = model * (1.0 + noise * rng.normal(size=n))
    return r * np.cos(phi), r * np.sin(phi), value, model


def points(figure, row: int, column: int):
    """The one collection of a panel."""
    (collection,) = figure.axes[3 * row + column].collections
    return collection


def drawn(figure, folder) -> bytes:
    """Bytes of the picture; a failure to draw shows here."""
    save(figure, folder / "figure.png", 50)
    return (folder / "figure.png").read_bytes()


@pytest.mark.parametrize("rmax", [0.1, 2.0, 40.0])
def test_panels_hold_data_model_and_residual(rmax, tmp_path):
    dra, ddec, value, model = pixels(500, rmax)
    figure = shape_model_figure(dra, ddec, value, model, "a title")
    assert drawn(figure, tmp_path)
    shown = value, model, (value - model) / model
    for column, expected in enumerate(shown):
        sky, polar = points(figure, 0, column), points(figure, 1, column)
        assert_allclose(sky.get_offsets(), np.stack([dra, ddec], 1))
        phi, r = polar.get_offsets().T
        assert_allclose(r * np.cos(np.radians(phi)), dra, atol=1e-12)
        assert_allclose(r * np.sin(np.radians(phi)), ddec, atol=1e-12)
        for panel in (sky, polar):
            assert_allclose(panel.get_array(), expected, rtol=1e-10, atol=1e-14)
            assert panel.get_rasterized()
    west, east = figure.axes[0].get_xlim()
    assert west == -east > 0.0
    assert rmax <= figure.axes[3].get_ylim()[1] < 1.1 * rmax
    assert "a title" in texts(figure)
    assert "500 points;" in texts(figure)


def test_data_and_model_share_their_colours_and_the_residual_is_symmetric():
    figure = shape_model_figure(*pixels(500, 2.0, noise=0.04), "")
    norms = [[points(figure, row, column).norm for column in range(3)] for row in (0, 1)]
    light, excess = norms[0][0], norms[0][2]
    assert isinstance(light, LogNorm)
    assert all(row[0] is light and row[1] is light and row[2] is excess for row in norms)
    assert (excess.vmin, excess.vmax) == (-0.1, 0.1)  # 90 % are within 0.066
    assert light.vmax == pytest.approx(0.3, rel=0.1)
    assert len(figure.axes) == 8  # six panels, two colour bars


def test_zero_negative_and_missing_data_are_told(tmp_path):
    dra, ddec, value, model = pixels(60, 2.0)
    value[:3], value[3:5], value[5] = -0.1, 0.0, np.nan
    value[6], model[7:11] = np.inf, 0.0
    figure = shape_model_figure(dra, ddec, value, model, "")
    assert drawn(figure, tmp_path)
    note = "60 points, 5 not above zero (white), 2 without data, 4 without model"
    assert note in texts(figure)
    data, residual = points(figure, 0, 0), points(figure, 0, 2)
    assert len(data.get_offsets()) == 58
    assert len(points(figure, 0, 1).get_offsets()) == 56
    assert len(residual.get_offsets()) == 54
    assert_allclose(data.get_facecolors()[:5], 1.0)  # white
    assert (data.get_facecolors()[5:, :3] < 1.0).any(axis=1).all()
    assert_allclose(residual.get_array()[3:5], -1.0)


def test_residual_is_summed_up_in_one_number():
    dra, ddec, _, model = pixels(50, 2.0)
    figure = shape_model_figure(dra, ddec, 1.25 * model, model, "")
    assert "rms of data = 0.200" in texts(figure)


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_single_point(offset, tmp_path):
    figure = shape_model_figure([offset], [0.0], [0.2], [0.25], "one")
    assert drawn(figure, tmp_path)
    assert_allclose(points(figure, 1, 2).get_array(), [-0.2])


def test_nothing_to_draw_says_so():
    for value, model in (([], []), ([-1.0], [0.1]), ([np.nan], [0.1]), ([0.1], [0.0])):
        zero = np.zeros(len(value))
        assert "no pixel" in texts(shape_model_figure(zero, zero, value, model, "none"))


def test_points_are_the_smaller_the_more_there_are():
    size = [
        points(shape_model_figure(*pixels(n, 2.0), ""), 0, 0).get_sizes()[0]
        for n in (10, 1_000, 10_000, 100_000)
    ]
    assert size[0] > size[1] > size[2] > size[3] > 0.0


def test_thousands_of_points_are_one_artist_a_panel(tmp_path):
    """That is why 20 000 take half a second; one artist a point would take minutes."""
    figure = shape_model_figure(*pixels(20_000, 16.0), "")
    assert drawn(figure, tmp_path)
    for ax in figure.axes[:6]:
        assert (len(ax.collections), len(ax.lines), len(ax.texts)) == (1, 0, 0)


def test_mask_holds_pixels_trend_and_radii(tmp_path):
    rng = np.random.default_rng(4)
    r = rng.uniform(0.0, 2.0, 300)
    ratio = 10.0 ** (TREND(r) + rng.normal(0.0, 0.1, r.size))
    ratio[:4] = -0.1, 0.0, np.nan, np.inf
    flux = np.append(10.0 ** rng.uniform(1.0, 5.0, 40), [0.0, np.nan])
    radius = np.full(42, 0.2)
    radius[:40] = np.maximum((np.log10(flux[:40]) - 0.5) / 1.5, 0.2)
    figure = source_mask_figure(r, ratio, TREND, flux, radius, 1.0)
    assert drawn(figure, tmp_path)
    fall, radii = figure.axes
    dots, line = fall.lines
    assert_allclose(dots.get_data(), [r[4:], ratio[4:]])
    x, y = line.get_data()
    assert_allclose(y, 10.0 ** TREND(x))
    assert (x.min(), x.max()) == (0.0, r[4:].max())
    dots, line = radii.lines
    assert_allclose(dots.get_data(), [flux[:40], radius[:40]])
    x, y = line.get_data()
    assert_allclose(x * 10.0 ** TREND(y), 1.0)  # where a source's light falls to the limit
    assert (fall.get_yscale(), radii.get_xscale()) == ("log", "log")
    assert "296 pixels, 4 without positive flux" in texts(figure)
    assert "40 sources, 2 without positive flux" in texts(figure)
    assert "falls to 1 e" in texts(figure)


def test_mask_of_a_single_pixel_and_source(tmp_path):
    assert drawn(source_mask_figure([0.0], [0.3], TREND, [50.0], [0.2], 1.0), tmp_path)
    for ratio, flux in ((np.nan, 50.0), (np.inf, 50.0), (0.3, -1.0)):
        none = source_mask_figure([0.1], [ratio], TREND, [flux], [0.2], 1.0)
        assert "no pixel or no source" in texts(none)


def test_our_style_whatever_the_user_prefers(tmp_path):
    def picture() -> bytes:
        with drawing():
            return drawn(shape_model_figure(*pixels(50, 2.0), "a title"), tmp_path)

    plain = picture()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "image.cmap": "jet"}):
        assert picture() == plain


def test_notebooks_show_the_same_picture_whatever_the_user_prefers():
    """They draw it when the cell ends, long after our style was left."""

    def picture():
        with drawing():
            return shape_model_figure(*pixels(50, 2.0), "a title")

    plain = picture()._repr_png_()
    assert plain.startswith(b"\x89PNG")
    with mpl.rc_context({"font.size": 20, "xtick.major.width": 3.0, "xtick.direction": "in"}):
        assert picture()._repr_png_() == plain


def test_pictures_need_neither_pyplot_nor_a_display():
    """Nothing is left behind in a script, and no window is asked for."""
    code = (
        "import sys, numpy as np\n"
        "from romanprf.plots.shape_model import shape_model_figure\n"
        "from romanprf.plots.source_mask import source_mask_figure\n"
        "one = np.ones(1)\n"
        "shape_model_figure(one, one, one, one, '').savefig(sys.stdout.buffer, format='png')\n"
        "source_mask_figure(one, one, np.poly1d([-1, 0]), one, one, 1.0)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {**os.environ, "MPLBACKEND": "tkagg", "DISPLAY": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout.startswith(b"\x89PNG")
