"""The comparisons: each is seen red, and none is satisfied by nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends import lenet_numpy
from backends.interface import Setup
from backends.lenet import VARIANTS, initial_weights
from bench.equivalence import (
    Comparison,
    Mismatch,
    Proof,
    compare_again,
    compare_losses,
    compare_stages,
    compare_training,
    compare_weights,
)
from bench.lesson import (
    CLOSE_TO_A_KINK,
    kink_distance,
    lesson_from,
    read_lesson,
    same_again,
    teach,
    write_lesson,
)
from bench.reference import Reference

VARIANT = VARIANTS["lenet5"]


def test_weights_are_judged_by_how_far_the_reference_moved() -> None:
    start = {"w": np.full(4, 100.0)}
    reference = {"w": np.full(4, 100.001)}
    own = {"w": np.full(4, 100.0011)}
    assert compare_weights(own, reference, start, 1, 1e-3).error == pytest.approx(0.1, rel=1e-6)


def test_a_weight_that_the_reference_did_not_move_proves_nothing() -> None:
    still = {"w": np.ones(3)}
    found = compare_weights(still, still, still, 1, 1e-3)
    assert not found.held
    assert "did not move" in found.worst


@pytest.mark.parametrize(
    "bad", [{}, {"w": np.ones(2)}, {"w": np.ones(3), "more": np.ones(1)}, {"w": np.full(3, np.nan)}]
)
def test_missing_misshapen_surplus_and_nan_weights_do_not_hold(bad: dict[str, np.ndarray]) -> None:
    assert not compare_weights(bad, {"w": np.ones(3)}, {"w": np.zeros(3)}, 1, 1e-3).held


def test_too_few_losses_do_not_hold() -> None:
    assert not compare_losses(np.ones(2), np.ones(3), 3, 1e-3).held
    assert not compare_losses(np.array([1.0, np.nan, 1.0]), np.ones(3), 3, 1e-3).held
    assert compare_losses(np.ones(3), np.ones(3), 3, 1e-3).held


def test_a_stage_of_another_type_or_shape_does_not_hold() -> None:
    lesson = teach(VARIANT, 4, (1,), 0.0625)
    as_float32 = {name: value.astype(np.float32) for name, value in lesson.stages.items()}
    assert all(found.held for found in compare_stages(as_float32, lesson.stages, VARIANT, "float32"))
    assert not all(found.held for found in compare_stages(lesson.stages, lesson.stages, VARIANT, "float32"))
    lacking = {name: value for name, value in as_float32.items() if name != "pool1"}
    assert "pool1 is missing" in compare_stages(lacking, lesson.stages, VARIANT, "float32")[0].worst
    swapped = {**as_float32, "conv1": as_float32["conv1"].transpose(0, 2, 3, 1)}
    assert not compare_stages(swapped, lesson.stages, VARIANT, "float32")[0].held


def test_the_first_mismatch_is_named_with_its_error_and_tolerance() -> None:
    proof = Proof((Comparison("losses", 1, 0.0, 1e-5, ""), Comparison("weights", 10, 0.5, 1e-3, "conv1.bias")), {}, {})
    with pytest.raises(Mismatch, match=r"weights after 10 steps off by 0\.5 where 0\.001 passes \(conv1\.bias\)"):
        proof.refuse_mismatch()


def test_a_trainer_with_other_initial_weights_is_found_before_its_first_step() -> None:
    setup = Setup("im2col", precision="float64")
    trainer = lenet_numpy.build(VARIANT, initial_weights(VARIANT, seed=1), setup)
    proof = compare_training(trainer, VARIANT, "float64", teach(VARIANT, 4, (1,), setup.learning_rate))
    assert proof.comparisons[0].quantity == "imported weights"
    assert not proof.comparisons[0].held


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_weight_moves_in_a_lesson_by_more_than_float32_rounds(name: str) -> None:
    lesson = teach(VARIANTS[name], 8, (1,), VARIANTS[name].learning_rate)
    for key, start in lesson.weights[0].items():
        moved = np.linalg.norm(lesson.weights[1][key] - start)
        rounding = np.linalg.norm(start) * np.finfo(np.float32).eps
        assert moved > 100 * rounding, key


def test_a_lesson_that_is_handed_on_is_the_same_to_the_bit(tmp_path: Path) -> None:
    lesson = teach(VARIANTS["tanh"], 4, (1, 2), 0.0625)
    write_lesson(tmp_path / "lesson.npz", lesson)
    found = read_lesson(tmp_path / "lesson.npz")
    np.testing.assert_equal(vars(found), vars(lesson))
    assert found.losses.dtype == lesson.losses.dtype == np.float64
    assert list(found.stages) == list(lesson.stages)


def test_images_of_a_lesson_lie_clear_of_kinks() -> None:
    variant = VARIANTS["modern"]
    lesson = teach(variant, 8, (1,), 0.0625)
    assert (kink_distance(variant, lesson.weights[0], lesson.images[0].astype(np.float64)) > CLOSE_TO_A_KINK).all()


def test_kinks_are_found_where_they_are() -> None:
    """A bias that puts one unit next to zero makes every image ambiguous, but for networks without kinks."""
    variant = VARIANTS["modern"]
    weights = {name: value.astype(np.float64) for name, value in initial_weights(variant).items()}
    images = np.zeros((2, 1, 32, 32))
    weights["conv1.bias"][0] = 1e-9
    assert (kink_distance(variant, weights, images) < CLOSE_TO_A_KINK).all()
    assert np.isinf(kink_distance(VARIANT, weights, images)).all()


def again(trainer: object, steps: int = 5) -> None:
    """What is done after the timed rounds, with a trainer in float64."""
    start = trainer.weights()  # type: ignore[attr-defined]
    lesson = lesson_from(Reference(VARIANT, 0.0625, start), 4, (steps,))
    chunk = trainer.put(lesson.images, lesson.labels)  # type: ignore[attr-defined]
    compare_again(trainer, chunk, lesson, "float64")  # type: ignore[arg-type]
    compare_again(  # type: ignore[arg-type]
        trainer,
        chunk,
        same_again(lesson, Reference(VARIANT, 0.0625, trainer.weights())),  # type: ignore[attr-defined]
        "float64",
    )


class Lazy(lenet_numpy.Trainer):
    """Trains as it should until it has been asked twice, and then leaves something out."""

    calls = 0

    def train(self, chunk: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        self.calls += 1
        return super().train(chunk) if self.calls <= self.honest else self.cheat(chunk)

    honest = 0

    def cheat(self, chunk: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        return np.full(len(chunk), 2.3)


class FirstBatchForAll(Lazy):
    def cheat(self, chunk: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        return super(Lazy, self).train([chunk[0]] * len(chunk))


class SkipsTheFifthUpdate(Lazy):
    def cheat(self, chunk: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        losses = super(Lazy, self).train(chunk[:4])
        before = self.weights()
        rest = super(Lazy, self).train(chunk[4:])
        self.network.weights.update(before)
        return np.concatenate([losses, rest])


class RemembersTheChunk(Lazy):
    honest = 1


def build_as(kind: type[Lazy]) -> Lazy:
    plain = lenet_numpy.build(VARIANT, initial_weights(VARIANT), Setup("im2col", precision="float64"))
    return kind(plain.network, plain.dtype, 0.0625)


def test_a_trainer_that_goes_on_as_it_began_passes_the_proof_after_the_rounds() -> None:
    again(build_as(type("Honest", (Lazy,), {"honest": 99})))


@pytest.mark.parametrize("kind", [Lazy, FirstBatchForAll, SkipsTheFifthUpdate, RemembersTheChunk])
def test_a_trainer_that_begins_to_cheat_is_found_after_the_rounds(kind: type[Lazy]) -> None:
    with pytest.raises(Mismatch):
        again(build_as(kind))
