"""Any variant in NumPy, layer by layer, there and back: for networks that are no LeNet as textbooks write it."""

from __future__ import annotations

import numpy as np

from backends.lenet import Conv, Dense, Flatten, Pool, Subsample, Variant, connected, is_activated
from backends.numpy_layers import ACTIVATIONS, SLOPES, Layers, pool_windows
from backends.prototypes import prototypes

Array = np.ndarray


class Layered:
    """The network's forward and backward pass; `backward` leaves the gradients in `gradients`."""

    def __init__(self, variant: Variant, weights: dict[str, Array], layers: Layers) -> None:
        self.variant, self.weights, self.layers = variant, weights, layers
        dtype = next(iter(weights.values())).dtype
        self.masks = {name: mask.astype(dtype) for name, mask in connected(variant).items()}
        self.prototypes = prototypes().astype(dtype)
        for name, mask in self.masks.items():
            weights[name] *= mask
        self.gradients: dict[str, Array] = {}
        self.kept: dict[str, Array] = {}

    def forward(self, images: Array) -> dict[str, Array]:
        """Every stage's value, from (N, 1, H, W) images to (N, 10) logits."""
        x, value, w = {"input": images}, images, self.weights
        for layer in self.variant.layers:
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            if isinstance(layer, Conv):
                value, self.kept[layer.name] = self.layers.conv(value, w[weight], w[bias], layer.padding)
            elif isinstance(layer, Pool):
                value = self.layers.pool(value, layer.kernel, self.variant.pooling)
            elif isinstance(layer, Subsample):
                total = self.kept[layer.name] = pool_windows(value, layer.kernel).sum(-1)
                value = total * w[weight][:, None, None] + w[bias][:, None, None]
            elif isinstance(layer, Flatten):
                value = value.reshape(len(images), -1)
            elif isinstance(layer, Dense):
                value = value @ w[weight].T + w[bias]
            else:
                value = -np.square(value[:, None] - self.prototypes).sum(2)
            if is_activated(self.variant, layer):
                value = ACTIVATIONS[self.variant.activation](value)
            x[layer.name] = value
        return x

    def backward(self, x: dict[str, Array], d: Array) -> None:
        """From the gradient of the logits back to the first layer's weights; `x` is what `forward` gave."""
        stages = list(x.values())
        for layer, entering, leaving in reversed(list(zip(self.variant.layers, stages, stages[1:]))):
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            if is_activated(self.variant, layer):
                d = d * SLOPES[self.variant.activation](leaving)
            if isinstance(layer, Conv):
                self.gradients[bias] = d.sum((0, 2, 3))
                first = layer is self.variant.layers[0]
                d, gradient = self.layers.conv_backward(
                    d, self.kept[layer.name], self.weights[weight], layer.padding, first
                )
                self.gradients[weight] = gradient * self.masks[weight] if weight in self.masks else gradient
            elif isinstance(layer, Pool):
                d = self.layers.pool_backward(d, entering, layer.kernel, self.variant.pooling)
            elif isinstance(layer, Subsample):
                self.gradients[bias] = d.sum((0, 2, 3))
                self.gradients[weight] = (d * self.kept[layer.name]).sum((0, 2, 3))
                d = d * self.weights[weight][:, None, None]
                # To every pixel of the window alike: what average pooling gives back is a kernel**2-th of that.
                d = self.layers.pool_backward(d * layer.kernel**2, entering, layer.kernel, "average")
            elif isinstance(layer, Flatten):
                d = d.reshape(entering.shape)
            elif isinstance(layer, Dense):
                self.gradients[weight], self.gradients[bias] = d.T @ entering, d.sum(0)
                d = d @ self.weights[weight]
            else:
                d = -2 * (d.sum(1, keepdims=True) * entering - d @ self.prototypes)
