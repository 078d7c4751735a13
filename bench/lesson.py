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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.lenet import Conv, Dense, Pool, Variant
from bench.data import Dataset, synthetic
from bench.reference import AT_ONCE, Reference, forward, windows_of

# Relative to the largest value of a stage. float32 trainers are up to 1e-6 off after 100 steps.
CLOSE_TO_A_KINK = 1e-5
FEWEST_IMAGES = 2048


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
    """The lesson for a trainer that starts where every trainer starts."""
    return lesson_from(Reference(variant, learning_rate), batch_size, checkpoints)


def write_lesson(path: Path, lesson: Lesson) -> None:
    """For processes that have the same to learn: the reference takes half a second, and a run has many."""
    stages = {f"stage {name}": value for name, value in lesson.stages.items()}
    weights = {f"weights {step} {name}": v for step, own in lesson.weights.items() for name, v in own.items()}
    with path.open("wb") as file:
        arrays: dict[str, Any] = {
            "images": lesson.images,
            "labels": lesson.labels,
            "losses": lesson.losses,
            **stages,
            **weights,
        }
        np.savez(file, **arrays)


def read_lesson(path: Path) -> Lesson:
    """The inverse."""
    stages: dict[str, np.ndarray] = {}
    weights: dict[int, dict[str, np.ndarray]] = {}
    with np.load(path) as file:
        for key in file.files:
            kind, _, name = key.partition(" ")
            if kind == "stage":
                stages[name] = file[key]
            elif kind == "weights":
                step, _, name = name.partition(" ")
                weights.setdefault(int(step), {})[name] = file[key]
        return Lesson(file["images"], file["labels"], file["losses"], stages, weights)


def lesson_from(
    reference: Reference, batch_size: int, checkpoints: tuple[int, ...], with_stages: bool = True
) -> Lesson:
    """Train the reference up to the last checkpoint, on images that no kink makes ambiguous."""
    variant = reference.variant
    dataset = synthetic(variant.input_size, count=max(FEWEST_IMAGES, 2 * batch_size))
    weights = {0: dict(reference.weights)}
    images, labels, losses = [], [], []
    stages: dict[str, np.ndarray] = {}
    first = 0
    for step in range(1, checkpoints[-1] + 1):
        rows, first = choose(variant, reference.weights, dataset, batch_size, first)
        images.append(dataset.images[rows])
        labels.append(dataset.labels[rows])
        losses.append(reference.step(images[-1], labels[-1]))
        if with_stages and not stages:
            stages = stages_of(variant, reference.weights, images[-1])
        if step in checkpoints:
            weights[step] = dict(reference.weights)
    return Lesson(np.stack(images), np.stack(labels), np.array(losses), stages, weights)


def stages_of(variant: Variant, weights: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """Every stage's value, a few images at a time: those of a large batch would take gigabytes on the way."""
    parts = [
        forward(variant, weights, images[start : start + AT_ONCE].astype(np.float64))
        for start in range(0, len(images), AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def same_again(lesson: Lesson, reference: Reference) -> Lesson:
    """The same batches for a trainer that stands where this reference does; without stages."""
    start, last = dict(reference.weights), max(lesson.weights)
    losses = [reference.step(*batch) for batch in zip(lesson.images, lesson.labels)]
    return Lesson(lesson.images, lesson.labels, np.array(losses), {}, {0: start, last: dict(reference.weights)})


def has_kinks(variant: Variant) -> bool:
    return variant.activation == "relu" or variant.pooling == "max"


def choose(
    variant: Variant, weights: Mapping[str, np.ndarray], dataset: Dataset, count: int, first: int
) -> tuple[np.ndarray, int]:
    """The next `count` images from the one numbered `first` on that lie clear of every kink, and where to go on."""
    chosen: list[int] = []
    rejected: list[tuple[float, int]] = []
    last = first + len(dataset.labels) + count
    while len(chosen) < count and first < last:
        rows = np.arange(first, first + count) % len(dataset.labels)
        distance = kink_distance(variant, weights, dataset.images[rows].astype(np.float64))
        taken = np.flatnonzero(distance > CLOSE_TO_A_KINK)[: count - len(chosen)]
        chosen += rows[taken].tolist()
        rejected += [(float(d), int(row)) for d, row in zip(distance, rows) if d <= CLOSE_TO_A_KINK]
        first += int(taken[-1]) + 1 if len(chosen) == count else count
    # A unit that no image moves can sit on its kink for all of them; then the farthest have to do.
    chosen += [row for _, row in sorted(rejected, reverse=True)[: count - len(chosen)]]
    return np.array(chosen), first % len(dataset.labels)


def kink_distance(variant: Variant, weights: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """For each of (N, 1, H, W) images, how close any value comes to a kink, relative to its stage's largest value.

    ReLU has its kink at zero, max pooling where the two largest values of a window are equal.
    """
    distance = np.full(len(images), np.inf)
    if not has_kinks(variant):
        return distance
    entering = forward(variant, weights, images, activated=False)
    values = forward(variant, weights, images)
    for layer, before in zip(variant.layers, values.values()):
        if isinstance(layer, Pool) and variant.pooling == "max":
            runner_up, winner = np.moveaxis(np.sort(windows_of(before, layer.kernel), -1)[..., -2:], -1, 0)
            # Where ReLU has made both zero, neither lets a gradient through.
            gaps = np.where(winner > 0, winner - runner_up, np.inf)
        elif isinstance(layer, (Conv, Dense)) and layer is not variant.layers[-1] and variant.activation == "relu":
            gaps = np.abs(entering[layer.name])
        else:
            continue
        size = np.abs(entering[layer.name]).max()
        distance = np.minimum(distance, gaps.reshape(len(images), -1).min(1) / size)
    return distance
