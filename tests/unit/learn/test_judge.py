"""Which frames may teach."""

import numpy as np
import pytest

from romanprf.learn.judge import good_frames
from romanprf.learn.part import Misfit

#: 1000 pixels with a chi2 of 2, ten of them clipped.
USUAL = Misfit(squares=2000.0, n_pixels=1000, n_clipped=10, weight=1e4)


def test_clipped_pixels_count_with_the_limit_of_the_clip():
    assert USUAL.chi2 == pytest.approx((2000.0 + 49.0 * 10) / 1010)
    both = Misfit.total([USUAL, USUAL])
    assert (both.n_pixels, both.chi2) == (2000, pytest.approx(USUAL.chi2))


@pytest.mark.parametrize(
    "bad",
    [
        USUAL._replace(squares=20000.0),
        USUAL._replace(n_pixels=800, n_clipped=210),
        USUAL._replace(n_pixels=3, squares=3.0, n_clipped=0),
        USUAL._replace(weight=1e-50, squares=0.0, n_clipped=0),
    ],
    ids=["chi2", "clipped", "three pixels", "errors of 1e30"],
)
@pytest.mark.parametrize("others", [2, 3, 15])
def test_a_frame_that_differs_does_not_teach(bad, others):
    good = good_frames([USUAL] * others + [bad])
    assert good.tolist() == [True] * others + [False]


def test_alike_frames_all_teach_however_bad():
    poor = USUAL._replace(squares=1e6)
    assert good_frames([poor] * 4).all()
    assert good_frames([USUAL]).all()


def test_half_of_the_frames_can_be_bad():
    bad = USUAL._replace(squares=1e5)
    assert good_frames([USUAL, bad, USUAL, bad]).tolist() == [True, False, True, False]
    assert np.array_equal(good_frames([bad, USUAL]), [False, True])
