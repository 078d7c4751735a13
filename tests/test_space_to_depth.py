"""Space to depth: the same sums in another order, and its gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.lenet import VARIANTS
from backends.numpy_layers import conv_im2col
from backends.space_to_depth import fits, gather, spread


def to_depth(x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * 4, h // 2, w // 2)


@pytest.mark.parametrize(("channels", "out", "size"), [(1, 6, 32), (6, 16, 14), (3, 2, 8)])
def test_the_wide_convolution_gives_the_corners_of_every_pooling_window(channels: int, out: int, size: int) -> None:
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(2, channels, size, size)), random.normal(size=(out, channels, 5, 5))
    plain, _ = conv_im2col(x, weight, np.zeros(out), 0)
    wide, _ = conv_im2col(to_depth(x), spread(weight), np.zeros(4 * out), 0)
    corners = wide.reshape(2, 2, 2, out, *wide.shape[2:])
    for row, column in np.ndindex(2, 2):
        np.testing.assert_allclose(corners[:, row, column], plain[:, :, row::2, column::2], rtol=1e-12, atol=1e-12)


def test_gather_is_the_transpose_of_spread() -> None:
    random = np.random.default_rng(0)
    weight, wide = random.normal(size=(6, 3, 5, 5)), random.normal(size=(24, 12, 3, 3))
    assert np.vdot(spread(weight), wide) == pytest.approx(np.vdot(weight, gather(wide)), rel=1e-12)


def test_what_it_fits() -> None:
    assert all(fits(VARIANTS[name]) for name in ("lenet5", "tanh", "modern"))
    lenet5 = VARIANTS["lenet5"]
    assert not fits(replace(lenet5, input_size=27))
    assert not fits(replace(lenet5, layers=(replace(lenet5.layers[0], kernel=3, padding=1), *lenet5.layers[1:])))
