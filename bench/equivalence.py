"""The proof that two trainers train the same network: stage values, losses, trained weights.

The reference (`reference.py`) computes in float64. The error of a weight is relative to how far the
reference's weight moved, ||w - r|| / ||r - r0|| over a tensor, because a network that learns nothing
agrees with everything; where the reference did not move, the comparison is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.interface import Trainer
from backends.lenet import Variant, connected, stage_shapes
from bench.lesson import Lesson

CHECKPOINTS = (1, 10, 100)


@dataclass(frozen=True)
class Tolerance:
    """The largest error that passes: of a stage and a loss relative to the reference's, of a weight to its movement."""

    stages: float
    losses: float
    weights: float


# float64: what the order of summation costs is 1e-14. float32: rounding a weight of size 0.1 that moved by 1e-4
# costs 6e-5 of the movement. The aims, with two or more digits to spare, and far below any planted fault (1e-2 and up).
TOLERANCES = {
    "float64": Tolerance(1e-10, 1e-10, 1e-10),
    "float32": Tolerance(1e-5, 1e-5, 1e-3),
    "tf32": Tolerance(1e-2, 1e-2, 1e-1),
    "bfloat16": Tolerance(5e-2, 5e-2, 5e-1),
}
# After the timed rounds, the weights stand wherever they brought them: over-trained on a few batches, in places where
# float32 is 100 times less exact than at the start (seen: losses 9e-4 for tanh at batch 1). These factors leave room
# for that, and none for a step left out of a chunk of 30.
AGAIN = Tolerance(1.0, 1000.0, 30.0)
DTYPES = {"float64": "float64", "float32": "float32", "tf32": "float32", "bfloat16": "float32"}


@dataclass(frozen=True)
class Comparison:
    """One quantity's error beside its tolerance; `worst` names the tensor or says what is wrong."""

    quantity: str
    steps: int
    error: float
    tolerance: float
    worst: str

    @property
    def held(self) -> bool:
        """False for NaN too."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Proof:
    """What was compared, and the shapes and parameter counts that were seen on the way."""

    comparisons: tuple[Comparison, ...]
    shapes: dict[str, tuple[int, ...]]
    parameters: dict[str, int]

    def refuse_mismatch(self) -> None:
        """Raise Mismatch for the first comparison outside its tolerance."""
        for found in self.comparisons:
            if not found.held:
                what = f"{found.quantity} after {found.steps} steps" if found.steps else found.quantity
                raise Mismatch(f"{what} off by {found.error:.2g} where {found.tolerance:.2g} passes ({found.worst})")

    def largest(self, quantity: str) -> float:
        """The largest error among the quantities that start with that word."""
        return max(found.error for found in self.comparisons if found.quantity.startswith(quantity))


class Mismatch(Exception):
    """A backend that is not the reference's network; the message names quantity, place and error."""


def submit_and_wait(trainer: Trainer, chunk: Any) -> np.ndarray:
    return trainer.wait(trainer.train(chunk))


def compare_training(
    trainer: Trainer,
    variant: Variant,
    precision: str,
    lesson: Lesson,
    run: Callable[[Trainer, Any], np.ndarray] = submit_and_wait,
) -> Proof:
    """Losses and weights at each of the lesson's checkpoints; stage values after the first.

    All steps between two checkpoints are one chunk, so that a step left out at a chunk's end shows.
    Nothing runs on the trainer before its first step, so that `run` can time what a first step costs.
    """
    tolerance, start = TOLERANCES[precision], lesson.weights[0]
    found = [compare_weights(trainer.weights(), start, None, 0, 0.0)]
    shapes: dict[str, tuple[int, ...]] = {}
    done = 0
    for checkpoint in list(lesson.weights)[1:]:
        chunk = trainer.put(lesson.images[done:checkpoint], lesson.labels[done:checkpoint])
        losses = run(trainer, chunk)
        found.append(compare_types(losses, trainer.weights(), checkpoint, precision))
        if not done:
            stages = trainer.stages(chunk)
            shapes = {name: np.shape(value)[1:] for name, value in stages.items()}
            found += compare_stages(stages, lesson.stages, variant, precision)
        found.append(compare_losses(losses, lesson.losses[done:checkpoint], checkpoint, tolerance.losses))
        found.append(
            compare_weights(trainer.weights(), lesson.weights[checkpoint], start, checkpoint, tolerance.weights)
        )
        done = checkpoint
    return Proof(tuple(found), shapes, parameter_counts(trainer.weights(), variant))


def compare_stages(
    own: Mapping[str, np.ndarray], its: Mapping[str, np.ndarray], variant: Variant, precision: str
) -> list[Comparison]:
    """One comparison of all shapes, one of all types, and one of every stage's values."""
    expected = stage_shapes(variant)
    batch = len(its["input"])
    wrong = [
        f"{name} is {own[name].shape if name in own else 'missing'}, not {(batch, *shape)}"
        for name, shape in expected.items()
        if name not in own or own[name].shape != (batch, *shape)
    ]
    wrong += [f"{name} is no stage of {variant.name}" for name in own if name not in expected]
    found = [Comparison("shapes", 0, float(len(wrong)), 0.0, "; ".join(wrong))]
    if wrong:
        return found
    types = [
        f"{name} is {value.dtype}, not {DTYPES[precision]}"
        for name, value in own.items()
        if value.dtype != DTYPES[precision]
    ]
    found.append(Comparison("types", 0, float(len(types)), 0.0, "; ".join(types)))
    tolerance = TOLERANCES[precision].stages
    for name, value in own.items():
        error = float(np.abs(value - its[name]).max() / np.abs(its[name]).max())
        found.append(Comparison(f"stage {name}", 0, error, tolerance, name))
    return found


def compare_types(losses: np.ndarray, weights: Mapping[str, np.ndarray], steps: int, precision: str) -> Comparison:
    """Losses and weights come back in the type that was asked for."""
    values = {"losses": np.asarray(losses), **weights}
    wrong = [
        f"{name} are {v.dtype}, not {DTYPES[precision]}" for name, v in values.items() if v.dtype != DTYPES[precision]
    ]
    return Comparison("types", steps, float(len(wrong)), 0.0, "; ".join(wrong))


def compare_again(trainer: Trainer, chunk: Any, lesson: Lesson, precision: str) -> None:
    """Train one chunk of all the lesson's steps on a trainer that stands where the lesson starts. Raises Mismatch.

    Weights are compared as one vector: after long training single tensors may have stopped moving.
    """
    tolerance, last = TOLERANCES[precision], max(lesson.weights)
    losses = submit_and_wait(trainer, chunk)
    own, its, start = (as_one(weights) for weights in (trainer.weights(), lesson.weights[last], lesson.weights[0]))
    found = (
        compare_losses(losses, lesson.losses, last, AGAIN.losses * tolerance.losses),
        compare_weights(own, its, start, last, AGAIN.weights * tolerance.weights),
    )
    Proof(found, {}, {}).refuse_mismatch()


def as_one(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"all weights": np.concatenate([weights[name].ravel() for name in sorted(weights)])}


def compare_losses(own: np.ndarray, its: np.ndarray, steps: int, tolerance: float) -> Comparison:
    own = np.asarray(own)
    if own.shape != its.shape:
        return Comparison("losses", steps, np.inf, tolerance, f"{own.shape} losses for {its.shape} steps")
    errors = np.abs(own - its) / np.abs(its)
    return Comparison(
        "losses", steps, float(errors.max()), tolerance, f"step {steps - len(its) + 1 + int(errors.argmax())}"
    )


def compare_weights(
    own: Mapping[str, np.ndarray],
    its: Mapping[str, np.ndarray],
    start: Mapping[str, np.ndarray] | None,
    steps: int,
    tolerance: float,
) -> Comparison:
    """The worst tensor. Without `start`, before training, errors are absolute: imported weights agree to the bit."""
    quantity = "imported weights" if start is None else "weights"
    errors: dict[str, float] = {}
    for name, value in its.items():
        if name not in own or own[name].shape != value.shape:
            got = own[name].shape if name in own else "missing"
            return Comparison(quantity, steps, np.inf, tolerance, f"{name} is {got}, not {value.shape}")
        if start is None:
            errors[name] = float(np.abs(own[name] - value).max())
            continue
        moved = np.linalg.norm(value - start[name])
        if not moved > 0:
            return Comparison(quantity, steps, np.inf, tolerance, f"{name} did not move in the reference")
        errors[name] = float(np.linalg.norm(own[name] - value) / moved)
    if set(own) != set(its):
        return Comparison(
            quantity, steps, np.inf, tolerance, f"{sorted(set(own) - set(its))[0]} is no weight of the network"
        )
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    return Comparison(quantity, steps, errors[worst], tolerance, worst)


def parameter_counts(weights: Mapping[str, np.ndarray], variant: Variant) -> dict[str, int]:
    """Trainable numbers per stage, counted from arrays, but for those that connect nothing."""
    counts, masks = dict.fromkeys(stage_shapes(variant), 0), connected(variant)
    for name, value in weights.items():
        there = np.broadcast_to(masks[name], np.shape(value)).sum() if name in masks else np.size(value)
        counts[name.split(".")[0]] = counts.get(name.split(".")[0], 0) + int(there)
    return counts
