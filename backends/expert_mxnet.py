"""The fastest step found with MXNet: `space_to_depth`, hybridized with static memory.

The first convolution is taken a pooling window at a time (see `space_to_depth.py`), with each corner's
6 channels filled up to 8 with zeros: oneDNN's kernels work on 8 at once, and the gradients of the second
convolution take half the time on 8 input channels as on 6. Average pooling is a 1x1 convolution with
constant weights, which is faster both ways than pooling. The rest is as in `lenet_mxnet.py`.
"""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon

from backends.lenet import Variant, stage_shapes
from backends.space_to_depth import CORNERS, KERNEL, POOL, TAPS, spread

LANES = 8


class ConvolutionAndPooling(gluon.HybridBlock):
    """The first convolution with its activation, and pooling: (N, 1, H, W) gives (N, 8, H', W')."""

    def __init__(self, variant: Variant, layer: Any) -> None:
        super().__init__(prefix="")
        self.variant, self.layer = variant, layer
        conv1 = variant["conv1"]
        self.size = variant.input_size // POOL
        self.out, self.padding = conv1.channels, conv1.padding // POOL
        # Which weight each number of the wide, zero-filled weight is, as a matrix of zeros and ones.
        each = np.eye(self.out * KERNEL * KERNEL).reshape(-1, self.out, 1, KERNEL, KERNEL)
        wide = np.stack([spread(one) for one in each]).reshape(len(each), len(CORNERS), self.out, -1)
        filled = np.zeros((len(each), len(CORNERS), LANES, wide.shape[3]))
        filled[:, :, : self.out] = wide
        self.spreading = self.params.get_constant("spreading", filled.reshape(len(each), -1).T)
        which = np.tile(np.eye(LANES, self.out), (len(CORNERS), 1))
        self.repeating = self.params.get_constant("repeating", which)
        mean = np.tile(np.eye(LANES), (1, len(CORNERS))) / len(CORNERS)
        self.mean = self.params.get_constant("mean", mean.reshape(LANES, -1, 1, 1))

    def hybrid_forward(self, F: Any, images: Any, spreading: Any, repeating: Any, mean: Any) -> Any:
        return self.pool(F, self.corners(F, images, spreading, repeating), mean)

    def corners(self, F: Any, images: Any, spreading: Any, repeating: Any) -> Any:
        """The values before pooling, (N, 4 * 8, H', W'), corner by corner."""
        weight, bias = (p.data() if F is mx.nd else p.var() for p in (self.layer.weight, self.layer.bias))
        blocks = F.reshape(images, (-1, self.size, POOL, self.size, POOL))
        blocks = F.reshape(F.transpose(blocks, (0, 2, 4, 1, 3)), (-1, POOL * POOL, self.size, self.size))
        wide = F.reshape(F.dot(spreading, F.reshape(weight, (-1, 1))), (-1, POOL * POOL, TAPS, TAPS))
        bias = F.reshape(F.dot(repeating, F.reshape(bias, (-1, 1))), (-1,))
        size, padding = (TAPS, TAPS), (self.padding, self.padding)
        y = F.Convolution(blocks, wide, bias, kernel=size, pad=padding, num_filter=len(CORNERS) * LANES)
        return F.Activation(y, act_type=self.variant.activation)

    def pool(self, F: Any, corners: Any, mean: Any) -> Any:
        if self.variant.pooling == "average":
            return F.Convolution(corners, mean, no_bias=True, kernel=(1, 1), num_filter=LANES)
        first, *others = (F.slice_axis(corners, 1, k * LANES, (k + 1) * LANES) for k in range(len(CORNERS)))
        for other in others:
            first = F.maximum(first, other)  # of equals, the first takes the gradient, as in the reference
        return first

    def stage(self, images: Any) -> Any:
        """The canonical value of the stage, (N, 6, H, W)."""
        out, height, width = stage_shapes(self.variant)["conv1"]
        y = self.corners(mx.nd, images, self.spreading.data(), self.repeating.data())
        y = mx.nd.slice_axis(y.reshape((len(images), POOL, POOL, LANES, height // POOL, width // POOL)), 3, 0, out)
        return y.transpose((0, 3, 4, 1, 5, 2)).reshape((len(images), out, height, width))


class WideConvolution(gluon.HybridBlock):
    """The second convolution with its activation, on input channels filled up to 8."""

    def __init__(self, variant: Variant, layer: Any) -> None:
        super().__init__(prefix="")
        self.variant, self.layer = variant, layer
        out, channels, kernel, _ = variant["conv2"].channels, variant["conv1"].channels, KERNEL, KERNEL
        self.zeros = self.params.get_constant("zeros", np.zeros((out, LANES - channels, kernel, kernel)))

    def hybrid_forward(self, F: Any, x: Any, zeros: Any) -> Any:
        weight, bias = (p.data() if F is mx.nd else p.var() for p in (self.layer.weight, self.layer.bias))
        weight = F.concat(weight, zeros, dim=1)
        y = F.Convolution(x, weight, bias, kernel=(KERNEL, KERNEL), num_filter=self.variant["conv2"].channels)
        return F.Activation(y, act_type=self.variant.activation)
