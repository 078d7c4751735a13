"""A name that is not known here: what it may have meant, in other tools' words or by a slip."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import BUILT_IN
from backends.lenet import VARIANTS
from bench import pins, spelling
from bench.data import NAMES
from bench.spelling import ALIASES, plain, suggestion, unknown
from bench.training import NORMALISATIONS, SCHEDULES
from tests.commands import HERE, in_this_process

MODES = {mode.name for entry in BUILT_IN for mode in entry.modes}
KNOWN = {
    "backend": [entry.name for entry in BUILT_IN],
    "environment": pins.ALL,
    "mode": sorted(MODES),
    "lane": ("tutorial", "expert"),
    "variant": list(VARIANTS),
    "data set": NAMES,
    "device": ("cpu", "cuda"),
    "precision": ("float32", "float64", "tf32"),
    "layer": ("--conv", "--pool", "--subsample", "--dense"),
    "recipe": ("d2l", "mnist"),
    "schedule": SCHEDULES,
    "initialisation": ("xavier", "he", "paper"),
    "normalisation": NORMALISATIONS,
    "allocator": ("steady", "system"),
}


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("backend", "pytorch", "torch"),
        ("backend", "tf", "tensorflow"),
        ("backend", "Numpy", "numpy"),
        ("backend", "np", "numpy"),
        ("backend", "Flax", "jax"),
        ("backend", "tensorfow", "tensorflow"),
        ("data set", "MNIST", "mnist"),
        ("data set", "fashion_mnist", "fashion-mnist"),
        ("data set", "FashionMNIST", "fashion-mnist"),
        ("device", "gpu", "cuda"),
        ("device", "cuda:0", "cuda"),
        ("device", "CPU", "cpu"),
        ("precision", "fp32", "float32"),
        ("precision", "float", "float32"),
        ("precision", "double", "float64"),
        ("precision", "fp64", "float64"),
        ("mode", "torch.compile", "compile"),
        ("mode", "tf.function", "function"),
        ("mode", "jax.lax.scan", "scan"),
        ("variant", "LeNet-5", "lenet5"),
        ("variant", "lenet", "lenet5"),
        ("lane", "experts", "expert"),
        ("recipe", "D2L", "d2l"),
        ("schedule", "cos", "cosine"),
        ("initialisation", "glorot", "xavier"),
        ("initialisation", "kaiming", "he"),
        ("allocator", "malloc", "system"),
        ("environment", "Torch-CUDA", "torch-cuda"),
        ("layer", "--conv2d", "--conv"),
    ],
)
def test_words_of_other_tools_and_slips_are_understood(kind: str, name: str, meant: str) -> None:
    known = [*KNOWN[kind], *(["torch-cuda"] if kind == "environment" else [])]
    assert suggestion(kind, name, known) == f": did you mean {meant!r}?"
    assert unknown(kind, name, known).startswith(f"unknown {kind} {name!r}: did you mean {meant!r}? known are ")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("backend", "theano"),
        ("variant", "alexnet"),
        ("device", "tpu"),
        ("precision", "int8"),
        ("data set", "cifar"),
        ("mode", ""),
    ],
)
def test_nothing_is_suggested_where_nothing_is_near(kind: str, name: str) -> None:
    assert unknown(kind, name, KNOWN[kind]) == f"unknown {kind} {name!r}; known are {', '.join(KNOWN[kind])}"


def test_nothing_is_suggested_that_is_not_there() -> None:
    assert suggestion("backend", "pytorch", ["numpy", "jax"]) == ""
    assert unknown("backend", "tf", []) == "unknown backend 'tf'; known are none"


def test_every_alias_is_plain_and_leads_to_what_there_is() -> None:
    for kind, words in ALIASES.items():
        for alias, meant in words.items():
            assert plain(alias) == alias, alias
            assert meant in KNOWN[kind], (kind, alias)
            assert alias not in map(plain, KNOWN[kind]), f"{alias} is known itself"
    assert spelling.CLOSE < 1


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("run", "--backend", "pytorch"), "unknown backend 'pytorch': did you mean 'torch'? known are jax, mxnet"),
        (("run", "--mode", "torch.compile"), "unknown mode 'torch.compile': did you mean 'compile'?"),
        (("run", "--lane", "Expert"), "did you mean 'expert'?"),
        (("run", "--variant", "LeNet-5"), "did you mean 'lenet5'?"),
        (("run", "--device", "cuda:0"), "did you mean 'cuda'?"),
        (("run", "--precision", "fp64"), "did you mean 'float64'?"),
        (("run", "--backend", "numpy", "--python", HERE, "--data", "MNIST"), "did you mean 'mnist'?"),
        (("run", "--allocator", "malloc"), "is neither steady nor system: did you mean 'system'?"),
        (("run", "--vary", "batches"), "is neither batch nor threads: did you mean 'batch'?"),
        (("run", "--with", "pytorch==2.1"), "no backend's requirement file pins 'pytorch': did you mean 'torch'?"),
        (("train", "--recipe", "D2L"), "did you mean 'd2l'?"),
        (("train", "--schedule", "cosine_annealing"), "did you mean 'cosine'?"),
        (("train", "--init", "kaiming"), "did you mean 'he'?"),
        (("train", "--normalise", "z-score"), "did you mean 'standard'?"),
        (("train", "--data", "FashionMNIST"), "did you mean 'fashion-mnist'?"),
        (("inspect", "--variant", "LeNet5"), "did you mean 'lenet5'?"),
        (("environments", "make", "PyTorch"), "unknown environment 'PyTorch': did you mean 'torch'?"),
        (("layers", "LeNet-5"), "unknown preset 'LeNet-5': did you mean 'lenet5'? presets are"),
        (("layers", "--conv2d", "6@5"), "unknown layer '--conv2d': did you mean '--conv'?"),
    ],
)
def test_every_command_suggests(tmp_path: Path, arguments: tuple[str, ...], meant: str) -> None:
    done = in_this_process(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert meant in done.stderr
