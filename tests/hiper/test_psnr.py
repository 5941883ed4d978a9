"""PSNR against the textbook's formula in plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from hiper.psnr import psnr_db

pixels = arrays(np.uint8, (4, 4, 3))


@given(pixels, pixels)
def test_psnr_is_the_textbook_formula(found, expected):
    mean_square = sum((int(a) - int(b)) ** 2 for a, b in zip(found.flat, expected.flat, strict=True)) / found.size
    wanted = 100.0 if mean_square == 0 else min(20 * np.log10(255) - 10 * np.log10(mean_square), 100)
    assert psnr_db(found, expected) == pytest.approx(wanted)
    assert psnr_db(found / 127.5 - 1, expected / 127.5 - 1, span=2) == pytest.approx(wanted)


def test_pictures_of_different_sizes_have_nothing_in_common():
    assert psnr_db(np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 3), np.uint8)) == 0
