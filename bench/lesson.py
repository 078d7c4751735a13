"""A lesson: the batches of a proof, and what the float64 NumPy reference makes of them.

Images are seeded noise, whatever a run is timed on: pictures have flat regions, where one patch of
pixels stands for hundreds and hides which of them a network looked at.

ReLU and max pooling have kinks. Where a value lies within rounding of one, float32 may take either
side, both gradients are right, and 100 steps later two correct trainers are strangers (seen: 0.9 of
the distance moved). A lesson for such a variant passes over images that come that close to a kink on
the reference's path.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from backends import lenet_numpy
from backends.interface import Setup
from backends.lenet import Conv, Dense, Pool, Variant, initial_weights
from backends.lenet_numpy import ACTIVATIONS
from backends.numpy_layers import conv_im2col, pool_im2col, pool_windows
from bench.data import Dataset, synthetic

# Relative to the largest value of a stage. float32 trainers are up to 1e-6 off after 100 steps.
CLOSE_TO_A_KINK = 1e-5
FEWEST_IMAGES = 2048
# Values that close are equal but for the order of summation: the same patch seen twice, whose gradients are equal too.
EQUAL = 1e-12


@dataclass(frozen=True)
class Lesson:
    """images (K, N, 1, H, W), labels (K, N); the reference's losses (K,), its stages after the first
    step, on the first batch, and its weights after 0 steps and after each checkpoint."""

    images: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    stages: dict[str, np.ndarray]
    weights: dict[int, dict[str, np.ndarray]]


@functools.cache
def teach(variant: Variant, batch_size: int, checkpoints: tuple[int, ...], learning_rate: float) -> Lesson:
    """Train the reference up to the last checkpoint, on images that no kink makes ambiguous."""
    dataset = synthetic(variant.input_size, count=max(FEWEST_IMAGES, 2 * batch_size))
    setup = Setup("im2col", precision="float64", learning_rate=learning_rate)
    trainer = lenet_numpy.build(variant, initial_weights(variant), setup)
    weights = {0: trainer.weights()}
    images, labels, losses = [], [], []
    stages: dict[str, np.ndarray] = {}
    first = 0
    for step in range(1, checkpoints[-1] + 1):
        rows, first = choose(variant, trainer.weights(), dataset, batch_size, first)
        images.append(dataset.images[rows])
        labels.append(dataset.labels[rows])
        chunk = trainer.put(images[-1][None], labels[-1][None])
        losses.append(trainer.wait(trainer.train(chunk))[0])
        if not stages:
            stages = trainer.stages(chunk)
        if step in checkpoints:
            weights[step] = trainer.weights()
    return Lesson(np.stack(images), np.stack(labels), np.array(losses), stages, weights)


def choose(
    variant: Variant, weights: dict[str, np.ndarray], dataset: Dataset, count: int, first: int
) -> tuple[np.ndarray, int]:
    """The next `count` images from the one numbered `first` on that lie clear of every kink, and where to go on."""
    chosen: list[int] = []
    last = first + len(dataset.labels) + count
    while len(chosen) < count and first < last:
        rows = np.arange(first, first + count) % len(dataset.labels)
        clear = kink_distance(variant, weights, dataset.images[rows].astype(np.float64)) > CLOSE_TO_A_KINK
        taken = np.flatnonzero(clear)[: count - len(chosen)]
        chosen += rows[taken].tolist()
        first += int(taken[-1]) + 1 if len(chosen) == count else count
    if len(chosen) < count:
        raise ValueError(f"{len(chosen)} of {count} images of {dataset.name} lie clear of the kinks of {variant.name}")
    return np.array(chosen), first % len(dataset.labels)


def kink_distance(variant: Variant, weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """For each of (N, 1, H, W) images, how close any value comes to a kink, relative to its stage's largest value."""
    distance = np.full(len(images), np.inf)
    if variant.activation != "relu" and variant.pooling != "max":
        return distance
    value, act = images, ACTIVATIONS[variant.activation]
    for layer in variant.layers:
        if isinstance(layer, Pool):
            if variant.pooling == "max":
                runner_up, winner = np.moveaxis(np.sort(pool_windows(value, layer.kernel), -1)[..., -2:], -1, 0)
                gap = np.where(winner - runner_up > EQUAL, winner - runner_up, np.inf)
                distance = np.minimum(distance, smallest(gap / np.abs(value).max()))
            value = pool_im2col(value, layer.kernel, variant.pooling)
        elif isinstance(layer, (Conv, Dense)):
            weight, bias = weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]
            if isinstance(layer, Conv):
                value = conv_im2col(value, weight, bias, layer.padding)[0]
            else:
                value = value @ weight.T + bias
            if layer is not variant.layers[-1]:
                if variant.activation == "relu":
                    distance = np.minimum(distance, smallest(np.abs(value) / np.abs(value).max()))
                value = act(value)
        else:
            value = value.reshape(len(value), -1)
    return distance


def smallest(values: np.ndarray) -> np.ndarray:
    """Per image, over all other axes."""
    return np.asarray(values.reshape(len(values), -1).min(1))
