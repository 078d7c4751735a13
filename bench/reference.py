"""The reference: the network in float64, written for plainness, and the one thing that all backends are compared with.

It shares no code with the NumPy backend, so that a fault there turns that backend red and no other.
A convolution is a sum over windows; its input's gradient is the same sum over the output's gradient
with the kernel turned around. The tests hold it against finite differences.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.lenet import Conv, Dense, Pool, Prototypes, Subsample, Variant, connected, initial_weights, is_activated
from backends.prototypes import prototypes

Array = np.ndarray
# Images at a time, whose windows stay in the caches: those of 4096 images would take gigabytes.
AT_ONCE = 16


class Reference:
    """Plain SGD in float64, from the weights with which every backend starts or from those given."""

    def __init__(self, variant: Variant, learning_rate: float, weights: Mapping[str, Array] | None = None) -> None:
        self.variant, self.learning_rate = variant, learning_rate
        start = initial_weights(variant) if weights is None else weights
        self.weights = {name: value.astype(np.float64) for name, value in start.items()}

    def step(self, images: Array, labels: Array) -> float:
        """One step on (N, 1, H, W) images and (N,) labels; the mean loss before it."""
        loss, gradients = 0.0, {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        for start in range(0, len(images), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            stages = forward(self.variant, self.weights, images[part].astype(np.float64))
            mean, d = cross_entropy(stages[self.variant.layers[-1].name], labels[part], self.variant.rubbish)
            share = len(labels[part]) / len(labels)
            loss += share * mean
            for name, gradient in backward(self.variant, self.weights, stages, share * d).items():
                gradients[name] += gradient
        for name, gradient in gradients.items():
            self.weights[name] = self.weights[name] - self.learning_rate * gradient
        return loss


def forward(variant: Variant, weights: Mapping[str, Array], images: Array, activated: bool = True) -> dict[str, Array]:
    """Every stage's value, in canonical layout; with `activated=False`, what enters the activation instead."""
    stages, masks = {"input": images}, connected(variant)
    x = images
    for layer in variant.layers:
        name = f"{layer.name}.weight"
        if isinstance(layer, Conv):
            x = before = convolve(x, weights[name] * masks.get(name, 1), layer.padding)
            x = before = before + weights[f"{layer.name}.bias"][:, None, None]
        elif isinstance(layer, Subsample):
            x = windows_of(x, layer.kernel).sum(-1) * weights[name][:, None, None]
            x = before = x + weights[f"{layer.name}.bias"][:, None, None]
        elif isinstance(layer, Prototypes):
            x = before = -((x[:, None, :] - prototypes()) ** 2).sum(2)
        elif isinstance(layer, Dense):
            x = before = x @ weights[name].T + weights[f"{layer.name}.bias"]
        elif isinstance(layer, Pool):
            x = before = pooled(windows_of(x, layer.kernel), variant.pooling)
        else:
            x = before = x.reshape(len(x), -1)
        if is_activated(variant, layer):
            x = activate(variant.activation, before)
        stages[layer.name] = x if activated else before
    return stages


def backward(variant: Variant, weights: Mapping[str, Array], stages: Mapping[str, Array], d: Array) -> dict[str, Array]:
    """The gradient of every weight, from the stages' values and the gradient of the logits."""
    gradients, masks = {}, connected(variant)
    entering = list(stages.values())
    for layer, x in reversed(list(zip(variant.layers, entering))):
        y, weight = stages[layer.name], weights.get(f"{layer.name}.weight")
        if is_activated(variant, layer):
            d = d * slope(variant.activation, y)
        if isinstance(layer, Conv) and weight is not None:
            gradients[f"{layer.name}.bias"] = d.sum((0, 2, 3))
            seen = sliding(padded(x, layer.padding), layer.kernel).swapaxes(1, 2)
            gradient = (d.reshape(*d.shape[:2], -1) @ seen).sum(0).reshape(weight.shape)
            gradients[f"{layer.name}.weight"] = gradient * masks.get(f"{layer.name}.weight", 1)
            if layer is variant.layers[0]:
                break  # nobody asks for the images' own gradient, which would be a third of the step
            turned = (weight * masks.get(f"{layer.name}.weight", 1))[:, :, ::-1, ::-1].swapaxes(0, 1)
            d = convolve(d, turned, layer.kernel - 1 - layer.padding)
        elif isinstance(layer, Dense) and weight is not None:
            gradients[f"{layer.name}.bias"], gradients[f"{layer.name}.weight"] = d.sum(0), d.T @ x
            d = d @ weight
        elif isinstance(layer, Subsample) and weight is not None:
            windows = windows_of(x, layer.kernel)
            gradients[f"{layer.name}.bias"] = d.sum((0, 2, 3))
            gradients[f"{layer.name}.weight"] = (d * windows.sum(-1)).sum((0, 2, 3))
            # Average pooling gives back a k * k-th to each; here each has had the whole.
            d = unpooled(d * weight[:, None, None] * layer.kernel**2, windows, x.shape, "average")
        elif isinstance(layer, Prototypes):
            d = np.einsum("nc,ncf->nf", d, -2 * (x[:, None, :] - prototypes()))
        elif isinstance(layer, Pool):
            d = unpooled(d, windows_of(x, layer.kernel), x.shape, variant.pooling)
        else:
            d = d.reshape(x.shape)
    return gradients


def cross_entropy(logits: Array, labels: Array, rubbish: float | None = None) -> tuple[float, Array]:
    """The mean softmax cross-entropy of (N, 10) logits, and its gradient: (softmax - one-hot) / N.

    With `rubbish`, the logit of an eleventh class, it is LeCun et al. 1998, equation 9, of minus the logits.
    """
    if rubbish is not None:
        distances = -logits
        others = np.logaddexp(rubbish, np.logaddexp.reduce(-distances, axis=1))
        right = np.arange(len(labels)), labels
        gradient = -np.exp(-distances - others[:, None])
        gradient[right] += 1
        return float((distances[right] + others).mean()), -gradient / len(labels)
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    softmax = exponential / exponential.sum(1, keepdims=True)
    one_hot = np.eye(logits.shape[1])[labels]
    return float(-np.log((softmax * one_hot).sum(1)).mean()), (softmax - one_hot) / len(labels)


def activate(name: str, x: Array) -> Array:
    """Sigmoid, tanh, ReLU or LeCun's scaled tanh of an array of any shape."""
    if name == "sigmoid":
        return 1 / (1 + np.exp(-x))
    if name == "scaled_tanh":
        return 1.7159 * np.tanh(2 / 3 * x)
    return np.tanh(x) if name == "tanh" else np.maximum(x, 0)


def slope(name: str, y: Array) -> Array:
    """The activation's derivative where its value is y."""
    if name == "sigmoid":
        return y * (1 - y)
    if name == "scaled_tanh":
        return 1.7159 * 2 / 3 * (1 - (y / 1.7159) ** 2)
    return 1 - y * y if name == "tanh" else (y > 0).astype(y.dtype)


def padded(x: Array, padding: int) -> Array:
    """(N, C, H, W) with zeros around each image: (N, C, H + 2 padding, W + 2 padding)."""
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def sliding(x: Array, kernel: int) -> Array:
    """(N, C, H, W) as all of its windows: (N, C * kernel * kernel, H' * W')."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    n, c, h, w = windows.shape[:4]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kernel * kernel, h * w)


def convolve(x: Array, weight: Array, padding: int) -> Array:
    """(N, C, H, W) with (O, C, k, k), without a bias: (N, O, H', W')."""
    x, kernel = padded(x, padding), weight.shape[-1]
    summed = weight.reshape(len(weight), -1) @ sliding(x, kernel)
    return summed.reshape(len(x), len(weight), x.shape[2] - kernel + 1, x.shape[3] - kernel + 1)


def windows_of(x: Array, kernel: int) -> Array:
    """(N, C, H, W) as windows that do not overlap: (N, C, H // k, W // k, k * k). Rows that fill none are left out."""
    n, c, h, w = *x.shape[:2], x.shape[2] // kernel, x.shape[3] // kernel
    blocks = x[:, :, : h * kernel, : w * kernel].reshape(n, c, h, kernel, w, kernel)
    return blocks.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w, kernel * kernel)


def pooled(windows: Array, kind: str) -> Array:
    """The average or maximum over the last axis."""
    return windows.max(-1) if kind == "max" else windows.mean(-1)


def unpooled(d: Array, windows: Array, shape: tuple[int, ...], kind: str) -> Array:
    """The gradient of pooling's input: to the first of the largest, or to all alike."""
    size = windows.shape[-1]
    kernel = int(size**0.5)
    share = np.eye(size)[windows.argmax(-1)] if kind == "max" else np.full(windows.shape, 1 / size)
    n, c, h, w = d.shape
    blocks = (d[..., None] * share).reshape(n, c, h, w, kernel, kernel).transpose(0, 1, 2, 4, 3, 5)
    dx = np.zeros(shape)
    dx[:, :, : h * kernel, : w * kernel] = blocks.reshape(n, c, h * kernel, w * kernel)
    return dx
