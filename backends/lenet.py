"""The network as data: variants, and every shape and count that follows from them.

Canonical layout, here and wherever an array crosses the contract: images are (batch, channel,
height, width); convolution weights (out, in, height, width); dense weights (out, in), where `in`
after `flatten` counts channel, then height, then width. A stage's value is taken after its
activation; the last dense layer has none, its value is the logits.

Sizes follow floor((n + 2p - k) / s) + 1 (Dumoulin & Visin, "A guide to convolution arithmetic for
deep learning", 2016, relationship 6). Nothing that can be derived is written down.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

CLASSES = 10
# A power of two: frameworks that keep it as float32 (MXNet, Keras) then use the same number as those that keep it as
# float64. With 0.1, their float64 weights would be off by 1.5e-8 of the distance moved.
LEARNING_RATE = 0.0625
INITIALISATIONS = ("xavier", "he", "paper")


@dataclass(frozen=True)
class Conv:
    """A square convolution with stride 1 and a bias, followed by the variant's activation.

    `connections` says for each output channel which input channels it sees; empty, all see all. Weights
    of what is not connected are zero and stay so.
    """

    name: str
    channels: int
    kernel: int
    padding: int = 0
    connections: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Pool:
    """Pooling over square windows that do not overlap; the variant says whether average or maximum."""

    name: str
    kernel: int = 2


@dataclass(frozen=True)
class Subsample:
    """Trainable sub-sampling: the sum of a window times a weight per channel, plus a bias, then the activation."""

    name: str
    kernel: int = 2


@dataclass(frozen=True)
class Flatten:
    """(channel, height, width) becomes one axis, in that order."""

    name: str = "flatten"


@dataclass(frozen=True)
class Dense:
    """A matrix product and a bias, followed by the variant's activation unless it is the last layer."""

    name: str
    features: int


@dataclass(frozen=True)
class Prototypes:
    """Radial basis functions: minus the squared distance to each class's fixed prototype (`prototypes.py`)."""

    name: str


Layer = Union[Conv, Pool, Subsample, Flatten, Dense, Prototypes]


@dataclass(frozen=True)
class Variant:
    """What the network is. `activation` is sigmoid, tanh, relu or scaled_tanh; `pooling` is average or max.

    With `rubbish` the loss has one class more, which is never right and whose logit is that number: the j of
    LeCun et al. 1998, equation 9, is minus it. `learning_rate` is that of proofs and timed steps.
    """

    name: str
    origin: str
    input_size: int
    activation: str
    pooling: str
    layers: tuple[Layer, ...]
    input_channels: int = 1
    rubbish: float | None = None
    learning_rate: float = LEARNING_RATE

    def __getitem__(self, name: str) -> Any:
        """The layer of that name; which kind it is, the caller knows by its name."""
        return next(layer for layer in self.layers if layer.name == name)

    def __contains__(self, name: str) -> bool:
        return any(layer.name == name for layer in self.layers)


def _feature_maps(padding: int) -> tuple[Layer, ...]:
    return (Conv("conv1", 6, 5, padding), Pool("pool1"), Conv("conv2", 16, 5), Pool("pool2"))


# LeCun et al. 1998, Table I: which maps of S2 each map of C3 sees.
TABLE_I = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            name="lenet5",
            origin="Dive into Deep Learning 7.6: first convolution padded by 2, sigmoid, average pooling",
            input_size=28,
            activation="sigmoid",
            pooling="average",
            layers=(
                *_feature_maps(padding=2),
                Flatten(),
                Dense("dense1", 120),
                Dense("dense2", 84),
                Dense("dense3", CLASSES),
            ),
        ),
        Variant(
            name="tanh",
            origin="the textbook reading of LeCun et al. 1998: C5 is a 5x5 convolution with 120 maps",
            input_size=32,
            activation="tanh",
            pooling="average",
            # C5 takes dense1's place; dense2 (F6) and dense3 (output) keep the names they have elsewhere.
            layers=(
                *_feature_maps(padding=0),
                Conv("conv3", 120, 5),
                Flatten(),
                Dense("dense2", 84),
                Dense("dense3", CLASSES),
            ),
        ),
        Variant(
            name="modern",
            origin="the common PyTorch rewrite: 32x32 input, ReLU, max pooling",
            input_size=32,
            activation="relu",
            pooling="max",
            layers=(
                *_feature_maps(padding=0),
                Flatten(),
                Dense("dense1", 120),
                Dense("dense2", 84),
                Dense("dense3", CLASSES),
            ),
        ),
        Variant(
            name="lecun1998",
            origin="LeCun et al. 1998: partial C3, trainable sub-sampling, scaled tanh, prototypes, the paper's loss",
            input_size=32,
            activation="scaled_tanh",
            pooling="average",
            layers=(
                Conv("conv1", 6, 5),
                Subsample("pool1"),
                Conv("conv2", 16, 5, connections=TABLE_I),
                Subsample("pool2"),
                Conv("conv3", 120, 5),
                Flatten(),
                Dense("dense2", 84),
                Prototypes("dense3"),
            ),
            rubbish=-0.5,
            learning_rate=2.0**-11,  # distances are large: with more, the first steps overshoot
        ),
        Variant(
            name="mlp",
            origin="a neighbour: one hidden layer of 100 ReLU units, no convolution",
            input_size=28,
            activation="relu",
            pooling="max",
            layers=(Flatten(), Dense("dense1", 100), Dense("dense3", CLASSES)),
        ),
        Variant(
            name="cnn",
            origin="a neighbour: three 3x3 convolutions of 32, 64 and 64 maps, ReLU, max pooling, as Keras's tutorials",
            input_size=28,
            activation="relu",
            pooling="max",
            layers=(
                Conv("conv1", 32, 3),
                Pool("pool1"),
                Conv("conv2", 64, 3),
                Pool("pool2"),
                Conv("conv3", 64, 3),
                Flatten(),
                Dense("dense2", 64),
                Dense("dense3", CLASSES),
            ),
        ),
    )
}
# Those that every mode of every backend has; the others are in one mode of each.
LENETS = ("lenet5", "tanh", "modern")


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """floor((n + 2p - k) / s) + 1; raises ValueError where the kernel is larger than what it slides over."""
    if size + 2 * padding < kernel:
        raise ValueError(f"a {kernel}x{kernel} kernel does not fit into {size}x{size} padded by {padding}")
    return (size + 2 * padding - kernel) // stride + 1


def stage_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """The shape of every stage without the batch axis: (channel, height, width) or (features,)."""
    shape: tuple[int, ...] = (variant.input_channels, variant.input_size, variant.input_size)
    shapes = {"input": shape}
    for layer in variant.layers:
        if isinstance(layer, Conv):
            size = output_size(shape[1], layer.kernel, 1, layer.padding)
            shape = (layer.channels, size, size)
        elif isinstance(layer, (Pool, Subsample)):
            size = output_size(shape[1], layer.kernel, layer.kernel)
            shape = (shape[0], size, size)
        elif isinstance(layer, Prototypes):
            shape = (CLASSES,)
        else:
            shape = (layer.features if isinstance(layer, Dense) else math.prod(shape),)
        shapes[layer.name] = shape
    return shapes


def widths(variant: Variant) -> dict[str, int]:
    """Channels (or features, once flattened) of every stage: what a framework's layer wants to be told."""
    return {stage: shape[0] for stage, shape in stage_shapes(variant).items()}


def weight_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """The shape of every weight and bias, in the order of the layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, entering in _with_input_shape(variant):
        if isinstance(layer, Conv):
            shapes[f"{layer.name}.weight"] = (layer.channels, entering[0], layer.kernel, layer.kernel)
            shapes[f"{layer.name}.bias"] = (layer.channels,)
        elif isinstance(layer, Dense):
            shapes[f"{layer.name}.weight"] = (layer.features, entering[0])
            shapes[f"{layer.name}.bias"] = (layer.features,)
        elif isinstance(layer, Subsample):
            shapes[f"{layer.name}.weight"] = shapes[f"{layer.name}.bias"] = (entering[0],)
    return shapes


def is_activated(variant: Variant, layer: Layer) -> bool:
    """Whether the variant's activation follows this layer."""
    return isinstance(layer, (Conv, Subsample, Dense)) and layer is not variant.layers[-1]


def connected(variant: Variant) -> dict[str, np.ndarray]:
    """For each weight of a partly connected convolution: float32 (out, in, 1, 1), 1 where connected and 0 where not."""
    masks = {}
    for layer, entering in _with_input_shape(variant):
        if isinstance(layer, Conv) and layer.connections:
            mask = masks[f"{layer.name}.weight"] = np.zeros((layer.channels, entering[0], 1, 1), np.float32)
            for out, inputs in enumerate(layer.connections):
                mask[out, list(inputs)] = 1
    return masks


def trained_numbers(variant: Variant) -> dict[str, int]:
    """How many numbers of every weight and bias are trained: all but those that connect nothing."""
    masks = connected(variant)
    return {
        name: int(masks[name].sum()) * math.prod(shape[2:]) if name in masks else math.prod(shape)
        for name, shape in weight_shapes(variant).items()
    }


def parameters(variant: Variant) -> dict[str, int]:
    """Trainable numbers of every stage (0 where there are none)."""
    counts = dict.fromkeys(stage_shapes(variant), 0)
    for name, count in trained_numbers(variant).items():
        counts[name.split(".")[0]] += count
    return counts


def connections(variant: Variant) -> int:
    """What LeCun et al. 1998 count: for every unit its inputs and its bias, 340,908 in all for their network."""
    shapes, total = stage_shapes(variant), 0
    for layer, entering in _with_input_shape(variant):
        units, own = math.prod(shapes[layer.name]), parameters(variant)[layer.name]
        if isinstance(layer, (Conv, Dense)):
            total += own * units // shapes[layer.name][0]  # every position has the same weights
        elif isinstance(layer, Subsample):
            total += units * (layer.kernel**2 + 1)
        elif isinstance(layer, Prototypes):
            total += units * entering[0]
    return total


def multiply_adds(variant: Variant) -> dict[str, int]:
    """Multiply-adds of one sample's forward pass, per stage, of convolutions and dense layers.

    Pooling, sub-sampling, distances to prototypes, biases and activations are not counted.
    """
    shapes, numbers = stage_shapes(variant), trained_numbers(variant)
    counts = dict.fromkeys(shapes, 0)
    for layer in variant.layers:
        if isinstance(layer, (Conv, Dense)):
            counts[layer.name] = math.prod(shapes[layer.name][1:]) * numbers[f"{layer.name}.weight"]
    return counts


def step_multiply_adds(variant: Variant) -> int:
    """Multiply-adds of one sample's training step.

    A layer costs its forward count three times (output, weight gradient, input gradient), but the
    first layer's input needs no gradient.
    """
    forward = [count for count in multiply_adds(variant).values() if count]
    return 3 * sum(forward) - forward[0]


@dataclass(frozen=True)
class Field:
    """What the units of a stage see of the input: unit (i, j) a square of `size` pixels from `start + i * jump` down
    and `start + j * jump` to the right. Where that is outside the image, it is padding."""

    size: int
    jump: int
    start: int


def fields(variant: Variant) -> dict[str, Field]:
    """The field of every stage that has one: all before the first dense layer, whose units see what any of those do.

    size += (k - 1) * jump, start -= p * jump, jump *= s, layer by layer (Araujo et al., "Computing Receptive
    Fields of Convolutional Neural Networks", Distill 2019).
    """
    at = Field(1, 1, 0)
    found = {"input": at}
    for layer in variant.layers:
        if isinstance(layer, (Conv, Pool, Subsample)):
            padding, stride = (layer.padding, 1) if isinstance(layer, Conv) else (0, layer.kernel)
            at = Field(at.size + (layer.kernel - 1) * at.jump, at.jump * stride, at.start - padding * at.jump)
        elif isinstance(layer, (Dense, Prototypes)):
            break
        found[layer.name] = at
    return found


def seen_by_dense(variant: Variant) -> tuple[int, int]:
    """The first row (and column) of the input that the last maps see, and the one behind the last, without padding.

    That is the whole input, but where a pooling window did not fit any more at its end.
    """
    seen, shapes = fields(variant), stage_shapes(variant)
    stage = [name for name in seen if len(shapes[name]) == 3][-1]
    at = seen[stage]
    return max(at.start, 0), min(at.start + (shapes[stage][1] - 1) * at.jump + at.size, variant.input_size)


def receptive_fields(variant: Variant) -> dict[str, int]:
    """Side length, in input pixels, of what one value of each stage can see (padding included, but for dense ones)."""
    seen, (first, end) = fields(variant), seen_by_dense(variant)
    return {stage: seen[stage].size if stage in seen else end - first for stage in stage_shapes(variant)}


def initial_weights(variant: Variant, seed: int = 0) -> dict[str, np.ndarray]:
    """float32 weights that every backend imports, so that no framework's initialiser can differ.

    Xavier uniform (Glorot & Bengio 2010) with a gain of 4 for sigmoid, 1 for tanh and sqrt(2) for
    ReLU, which keeps gradients alive down to the first layer; the last layer's gain is 1. Biases are
    drawn too, within 0.1: with zero biases, half of all layout errors would be invisible. Sub-sampling
    weights lie between 0.5 and 1, so that a map is not switched off.
    """
    gain = {"sigmoid": 4.0, "tanh": 1.0, "relu": math.sqrt(2.0), "scaled_tanh": 1.0}[variant.activation]
    random = np.random.default_rng(seed)
    weights, masks = {}, connected(variant)
    for name, shape in weight_shapes(variant).items():
        if name.endswith(".bias"):
            bound = 0.1
        elif len(shape) == 1:
            weights[name] = random.uniform(0.5, 1, shape).astype(np.float32)
            continue
        else:
            bound = math.sqrt(6 / (math.prod(shape[2:]) * (shape[0] + shape[1])))
            bound *= 1.0 if name == f"{variant.layers[-1].name}.weight" else gain
        weights[name] = random.uniform(-bound, bound, shape).astype(np.float32) * masks.get(name, np.float32(1))
    return weights


def drawn_weights(variant: Variant, initialisation: str, seed: int) -> dict[str, np.ndarray]:
    """float32 weights to train from in earnest, biases zero but for `paper`.

    `xavier`: uniform within sqrt(6 / (in + out)) (Glorot & Bengio 2010). `he`: normal with a standard
    deviation of sqrt(2 / in) (He et al. 2015). `paper`: uniform within 2.4 / in, biases too (LeCun et al.
    1998, appendix A). `in` and `out` count the inputs and outputs of one unit, kernel positions included.
    """
    random = np.random.default_rng(seed)
    shapes, masks = weight_shapes(variant), connected(variant)
    weights = {}
    for name, shape in shapes.items():
        of, mask = shapes[name.replace(".bias", ".weight")], masks.get(name, np.float32(1))
        fan_in: Any = math.prod(of[1:])
        fan_out: Any = of[0] * math.prod(of[2:])
        if name in masks:  # each map has as many inputs and outputs as it is connected to
            fan_in, fan_out = (mask.sum(axis, keepdims=True) * math.prod(of[2:]) for axis in (1, 0))
        if len(of) == 1:  # sub-sampling: a weight for the sum of a window
            fan_in = fan_out = variant[name.split(".")[0]].kernel ** 2
        if initialisation == "paper":
            drawn = random.uniform(-2.4 / fan_in, 2.4 / fan_in, shape)
        elif name.endswith(".bias"):
            drawn = np.zeros(shape)
        elif initialisation == "he":
            drawn = random.normal(0, np.sqrt(2 / fan_in), shape)
        elif initialisation == "xavier":
            bound = np.sqrt(6 / (fan_in + fan_out))
            drawn = random.uniform(-bound, bound, shape)
        else:
            raise ValueError(f"unknown initialisation {initialisation!r}; known are {', '.join(INITIALISATIONS)}")
        weights[name] = drawn.astype(np.float32) * mask
    return weights


def weights_sha256(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and little-endian float32 values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], dtype="<f4")
        digest.update(f"{name}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _with_input_shape(variant: Variant) -> list[tuple[Layer, tuple[int, ...]]]:
    return list(zip(variant.layers, stage_shapes(variant).values()))
