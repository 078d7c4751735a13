"""Space to depth: a 5x5 convolution and the 2x2 pooling after it, computed pooling window by pooling window.

The four outputs of one pooling window see 6x6 inputs. Read each 2x2 block of inputs as four
channels, and the convolution becomes a 3x3 one with four times the channels on both sides: its output
channels are the four corners of the windows, one after the other, so that pooling is the mean or the
maximum of four slabs. That is 36/25 of the multiply-adds, in a shape that matrix products are made
for, with 9 instead of 25 unrolled values per output. MLPerf's TPU entries do the same to ResNet's first layer.

Axes: an input channel is (channel, row parity, column parity), an output channel (corner, channel)
with corner = 2 * row + column. Only the layout of the sums differs, never the network.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from backends.lenet import Variant

KERNEL, POOL = 5, 2
# Per axis: windows per kernel, and inputs under one pooling window.
TAPS, SEEN = 3, 6
CORNERS = tuple(product(range(POOL), range(POOL)))


def fits(variant: Variant) -> bool:
    """Whether both convolutions are 5x5, see inputs of even size, and are pooled 2x2."""
    sizes = [variant.input_size + 2 * variant["conv1"].padding]
    sizes.append((sizes[0] - KERNEL + 1) // POOL)
    kernels = (
        {variant[name].kernel for name in ("conv1", "conv2")},
        {variant[name].kernel for name in ("pool1", "pool2")},
    )
    return kernels == ({KERNEL}, {POOL}) and not any(size % POOL for size in sizes)


def spread(weight: np.ndarray) -> np.ndarray:
    """(O, C, 5, 5) as the (4 * O, 4 * C, 3, 3) weight that does the same on blocks of four."""
    out, channels = weight.shape[:2]
    wide = np.zeros((len(CORNERS), out, channels, SEEN, SEEN), weight.dtype)
    for corner, (row, column) in enumerate(CORNERS):
        wide[corner, :, :, row : row + KERNEL, column : column + KERNEL] = weight
    blocks = wide.reshape(-1, channels, TAPS, POOL, TAPS, POOL).transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(-1, channels * POOL * POOL, TAPS, TAPS)


def gather(wide: np.ndarray) -> np.ndarray:
    """The gradient of (O, C, 5, 5) from that of (4 * O, 4 * C, 3, 3): the transpose of `spread`."""
    out, channels = len(wide) // len(CORNERS), wide.shape[1] // (POOL * POOL)
    blocks = wide.reshape(-1, channels, POOL, POOL, TAPS, TAPS).transpose(0, 1, 4, 2, 5, 3)
    seen = blocks.reshape(len(CORNERS), out, channels, SEEN, SEEN)
    corners = enumerate(CORNERS)
    return sum(seen[i, :, :, row : row + KERNEL, column : column + KERNEL] for i, (row, column) in corners)  # type: ignore[return-value]
