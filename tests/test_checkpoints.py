"""Weights files: what is saved comes back, and what is none of ours is refused in one line."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.lenet import VARIANTS, initial_weights
from bench import checkpoints
from bench.checkpoints import Checkpoint, CheckpointError
from bench.results import ResultsError

WEIGHTS = initial_weights(VARIANTS["lenet5"])
ABOUT = {"variant": "lenet5", "course": {"seed": 3}}


def save_as(path: Path, **changes: object) -> None:
    arrays = {"about": np.array(json.dumps(ABOUT)), **WEIGHTS, **changes}
    with path.open("wb") as file:
        np.savez(file, **{name: value for name, value in arrays.items() if value is not None})


def test_what_is_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    history = {"losses": np.array([2.5, 0.1 + 0.2])}
    checkpoints.save(tmp_path / "w.npz", Checkpoint(WEIGHTS, ABOUT, history))
    found = checkpoints.load(tmp_path / "w.npz")
    assert found.about == ABOUT and found.variant.name == "lenet5"
    assert all((found.weights[name] == value).all() for name, value in WEIGHTS.items())
    assert found.weights.keys() == WEIGHTS.keys()
    assert (found.history["losses"] == history["losses"]).all()
    assert os.listdir(tmp_path) == ["w.npz"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.npz"
    checkpoints.save(path, Checkpoint(WEIGHTS, ABOUT))
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space"):
        checkpoints.save(path, Checkpoint({**WEIGHTS, "dense3.bias": np.ones(10)}, ABOUT))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.npz"]


def cut(path: Path) -> None:
    save_as(path)
    path.write_bytes(path.read_bytes()[:-3000])


def turn_a_bit(path: Path) -> None:
    save_as(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def add_raw_member(path: Path) -> None:
    save_as(path, **{"conv1.bias": None})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("conv1.bias", b"no array")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: None, "No such file"),
    "a folder": (lambda path: path.mkdir(), "directory"),
    "empty": (lambda path: path.write_bytes(b""), "no weights file"),
    "text": (lambda path: path.write_text("hello"), "no weights file"),
    "cut short": (cut, "no weights file"),
    "a bit turned": (turn_a_bit, "no weights file"),
    "one array": (lambda path: np.save(path.open("wb"), np.zeros(3)), "no weights file"),
    "pickled": (lambda path: save_as(path, about=np.array([{"variant": "lenet5"}], object)), "no weights file"),
    "says nothing of itself": (lambda path: save_as(path, about=None), "does not say which network"),
    "an unknown network": (lambda path: save_as(path, about=np.array('{"variant": "resnet"}')), "does not say which"),
    "about is a list": (lambda path: save_as(path, about=np.array("[1]")), "does not say which network"),
    "one missing": (lambda path: save_as(path, **{"conv2.bias": None}), "has no conv2.bias"),
    "another shape": (lambda path: save_as(path, **{"conv2.bias": np.zeros(15)}), r"conv2.bias is float64 \(15,\)"),
    "an array of another kind": (add_raw_member, r"conv1.bias is \|S8"),
    "nested too deep": (lambda path: save_as(path, about=np.array("[" * 100_000)), "does not say which network"),
    "words": (lambda path: save_as(path, **{"conv2.bias": np.array(["x"] * 16)}), "conv2.bias is <U1"),
    "not finite": (lambda path: save_as(path, **{"conv2.bias": np.full(16, np.nan)}), "no finite numbers"),
    "one too many": (lambda path: save_as(path, **{"conv3.bias": np.zeros(3)}), "conv3.bias is no weight of lenet5"),
}


@pytest.mark.parametrize("kind", list(FOREIGN))
def test_a_damaged_or_foreign_file_is_one_line(tmp_path: Path, kind: str) -> None:
    make, message = FOREIGN[kind]
    path = tmp_path / "w.npz"
    make(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_numbers_of_the_other_byte_order_are_the_same_numbers(tmp_path: Path) -> None:
    save_as(tmp_path / "w.npz", **{"conv2.bias": WEIGHTS["conv2.bias"].astype(">f4")})
    found = checkpoints.load(tmp_path / "w.npz").weights["conv2.bias"]
    assert found.dtype == np.dtype("float32") and found.dtype.isnative
    assert (found == WEIGHTS["conv2.bias"]).all()


@pytest.mark.parametrize(
    ("progress", "losses"),
    [
        (None, [1.0]),
        ([], [1.0]),
        ({}, [1.0]),
        ({"parts": 0, "curve": []}, []),
        ({"parts": 2, "curve": [{"epoch": 1, "steps": 1, "seconds": 1, "accuracy": 1}]}, [1.0]),
        ({"parts": 1, "curve": [{"epoch": 1, "steps": 2, "seconds": 1, "accuracy": 1}]}, [1.0]),
        ({"parts": 1, "curve": [{"epoch": 1, "steps": 1, "seconds": "x", "accuracy": 1}]}, [1.0]),
        ({"parts": 1, "curve": [{"epoch": 1, "steps": 1, "seconds": 1, "accuracy": 1}]}, [np.nan]),
        ({"parts": 1, "curve": [{"epoch": 1, "steps": 1, "seconds": 1, "accuracy": 1}]}, [[1.0]]),
        ({"parts": 1, "curve": [{"epoch": 1, "steps": 1, "seconds": 1, "accuracy": 1}]}, ["x"]),
    ],
)
def test_a_checkpoint_whose_progress_does_not_fit_is_of_another_training(progress: object, losses: list[Any]) -> None:
    at = Checkpoint(WEIGHTS, {**ABOUT, "progress": progress}, {"losses": np.array(losses)})
    with pytest.raises(CheckpointError, match="another training; delete it"):
        checkpoints.refuse_another(Path("last.npz"), at, ABOUT)


def test_one_that_fits_is_taken() -> None:
    progress = {"parts": 1, "curve": [{"epoch": 1, "steps": 1, "seconds": 1, "accuracy": 1}]}
    checkpoints.refuse_another(
        Path("last.npz"), Checkpoint(WEIGHTS, {**ABOUT, "progress": progress}, {"losses": np.array([1.0])}), ABOUT
    )
