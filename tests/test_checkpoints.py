"""Weights files: what is saved comes back, and what is none of ours is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.lenet import VARIANTS, initial_weights
from bench import checkpoints, inspection
from bench.cases import Case, UsageError
from bench.checkpoints import Checkpoint, CheckpointError
from bench.evaluate import compare
from bench.results import ResultsError
from bench.train import Ending
from tests.commands import in_this_process

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


def pickled(path: Path) -> None:
    save_as(path, **{"conv1.bias": np.array([print], object)})


IN_OUR_WORDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "text": (lambda path: path.write_text("hello"), "it is no .npz"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "it is no .npz"),
    "one array": (lambda path: np.save(path.open("wb"), np.zeros(3)), "it is a single array, .npy"),
    "an array of objects": (
        lambda path: np.save(path.open("wb"), np.array([print], object), allow_pickle=True),
        "it is a single array, .npy",
    ),
    "objects inside": (pickled, "it holds Python objects, which are never loaded"),
    "cut short": (cut, "it is damaged or cut short"),
    "two letters": (lambda path: path.write_bytes(b"PK"), "it is no .npz"),
    "the beginning alone": (lambda path: path.write_bytes(b"PK\x03\x04 and so on"), "it is damaged or cut short"),
    "a bit turned": (turn_a_bit, "it is damaged or cut short"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "no file": (lambda path: None, "No such file or directory"),
    "a pipe": (os.mkfifo, "it is no file"),
}


@pytest.mark.parametrize("kind", list(IN_OUR_WORDS))
def test_a_damaged_file_is_refused_in_our_words(tmp_path: Path, kind: str) -> None:
    make, words = IN_OUR_WORDS[kind]
    path = tmp_path / "w.npz"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    assert str(caught.value) == f"{path}: is no weights file that can be read ({words})"


@pytest.mark.parametrize("dtype", ["int64", "complex64", "bool", "datetime64[s]"])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    save_as(tmp_path / "w.npz", **{"conv2.bias": np.zeros(16, dtype)})
    with pytest.raises(CheckpointError, match=r"conv2\.bias is .* not floating-point \(16,\)"):
        checkpoints.load(tmp_path / "w.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    save_as(tmp_path / "w.npz", **{"conv2.bias": np.array([0.0] * 15 + [value])})
    with pytest.raises(CheckpointError, match="no finite numbers"):
        checkpoints.load(tmp_path / "w.npz")


@pytest.mark.parametrize("command", ["evaluate", "inspect"])
@pytest.mark.parametrize("kind", ["text", "objects inside", "one array", "a pipe", "cut short"])
def test_commands_refuse_them_in_one_line(tmp_path: Path, command: str, kind: str) -> None:
    IN_OUR_WORDS[kind][0](tmp_path / "w.npz")
    done = in_this_process(command, "w.npz", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"({IN_OUR_WORDS[kind][1]})" in done.stderr


@pytest.mark.parametrize("factor", [1e-310, 1e-44, 1e39, 1e200])
def test_weights_that_float32_does_not_hold_are_refused_and_blamed_on_nobody(tmp_path: Path, factor: float) -> None:
    scaled = {name: value.astype(np.float64) * factor for name, value in WEIGHTS.items()}
    checkpoints.save(tmp_path / "w.npz", Checkpoint(scaled, ABOUT))
    done = in_this_process("evaluate", "w.npz", "--data", "digits", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "values that float32 does not hold" in done.stderr


@pytest.mark.parametrize(
    ("logits", "reason"),
    [
        (np.zeros((3, 9)), "its logits are float64 (3, 9), not float64 (3, 10)"),
        (np.zeros((3, 10), np.int64), "its logits are int64 (3, 10), not float64 (3, 10)"),
        (np.zeros(()), "its logits are float64 (), not float64 (3, 10)"),
        (np.full((3, 10), np.nan), "its logits are no numbers in float32"),
    ],
)
def test_logits_of_another_form_are_one_failed_row(logits: np.ndarray, reason: str) -> None:
    found = compare(Case("theirs", "own"), "1", logits, np.zeros((3, 10)), np.zeros(3, int))
    assert (found.status, found.reason) == ("failed", reason)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "its stage input is not there, not (1, 1, 28, 28)"),
        ({"input": np.zeros((2, 1, 28, 28))}, "its stage input is float64 (2, 1, 28, 28), not (1, 1, 28, 28)"),
        ({"input": np.array([print], object)}, "its stages cannot be read (ValueError)"),
        (None, "its stages cannot be read (FileNotFoundError)"),
    ],
)
def test_stages_of_another_form_are_one_line(
    monkeypatch: pytest.MonkeyPatch, stages: dict[str, np.ndarray] | None, message: str
) -> None:
    def converse(verb: str, python: Path, case: Case, order: dict[str, str], patience: float) -> Ending:
        if stages is not None:
            np.savez(order["stages"], **stages)  # type: ignore[arg-type]
        return Ending("ok")

    monkeypatch.setattr(inspection.train, "converse", converse)
    asked = inspection.Asked(Case("theirs", "own"), Path("python"))
    with pytest.raises(UsageError) as caught:
        inspection.by_backend(Checkpoint(WEIGHTS, ABOUT), np.zeros((1, 1, 28, 28), np.float32), asked, 1.0)
    assert str(caught.value) == f"theirs own: {message}"
