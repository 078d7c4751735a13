"""Real faults, planted in a backend's source, and a proof that catches every one of them.

A mutant lives in a file and under a name of its own: TensorFlow and Flax read the source and the module
of what they compile, and would find the unmutated ones. An exception is no catch: every mutant trains.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import backends
from backends.interface import Setup
from backends.lenet import LEARNING_RATE, VARIANTS, initial_weights
from bench.equivalence import Comparison, compare_training
from bench.lesson import teach
from tests.conformance.conftest import backend_names, skip_what_cannot_run_here
from tests.conformance.mutants import FAULTS, MUTANTS, Edit

VARIANT = VARIANTS["lenet5"]
PREFIX = "mutant_of_"
BUILT_IN = {entry.name: entry for entry in backends.BUILT_IN}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every mode in float64, the last one in float32 too."""
    entries = [BUILT_IN[name] for name in backend_names(metafunc.config) if name in BUILT_IN]
    cells = [(entry.name, mode.name, "float64") for entry in entries for mode in entry.modes]
    cells += [(entry.name, entry.modes[-1].name, "float32") for entry in entries]
    if "mode" in metafunc.fixturenames:
        metafunc.parametrize(("backend", "mode", "precision"), cells, ids=["-".join(cell) for cell in cells])
    elif "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", [entry.name for entry in entries])
    if "fault" in metafunc.fixturenames:
        metafunc.parametrize("fault", list(FAULTS))


def original(module: str) -> str:
    """The source of a module, which this does not import."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def private(module: str) -> str:
    return PREFIX + module.rpartition(".")[2]


def edited(main: str, edits: Sequence[Edit]) -> dict[str, str]:
    """The sources of all modules that the edits concern, and last the main one, which imports the others."""
    sources = {edit.module: original(edit.module) for edit in edits if edit.module}
    sources[main] = original(main)
    for edit in edits:
        name = edit.module or main
        assert edit.old in sources[name], f"{name} no longer contains {edit.old!r}; plant the fault anew"
        sources[name] = sources[name].replace(edit.old, edit.new)
    for name in list(sources)[:-1]:
        assert f"from {name} import" in sources[main]
        sources[main] = sources[main].replace(f"from {name} import", f"from {private(name)} import")
    return sources


@contextmanager
def planted(main: str, edits: Sequence[Edit]) -> Iterator[ModuleType]:
    """The main module with the edits in place, from files in a folder of their own; nothing stays registered."""
    sources = edited(main, edits)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        try:
            modules = [execute(private(name), source, Path(folder)) for name, source in sources.items()]
            yield modules[-1]
        finally:
            for name in sources:
                sys.modules.pop(private(name), None)


def execute(name: str, source: str, folder: Path) -> ModuleType:
    """A module of that name, registered under it, from a file with that source."""
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def failures(backend: str, mode: str, precision: str, edits: Sequence[Edit]) -> list[Comparison]:
    """What a proof of the edited backend finds wrong; plain Python loops take fewer images, because they are slow."""
    batch_size, checkpoints = (2, (1, 4)) if mode == "loops" else (8, (1, 10))
    lesson = teach(VARIANT, batch_size, checkpoints, LEARNING_RATE)
    with planted(BUILT_IN[backend].module, edits) as module:
        trainer = module.build(VARIANT, initial_weights(VARIANT), Setup(mode, precision=precision))
        proof = compare_training(trainer, VARIANT, precision, lesson)
    return [found for found in proof.comparisons if not found.held]


def process_wide(module: ModuleType) -> tuple[dict[str, int], dict[str, str]]:
    """Which modules of backends and mutants are registered, and the framework's switches."""
    ours = {name: id(value) for name, value in sys.modules.items() if name.startswith(("backends", PREFIX))}
    return ours, module.switches()


@pytest.fixture
def nothing_left_behind(backend: str, mode: str, precision: str) -> Iterator[None]:
    """A mutant's build assigns the switches that an unmutated build does; after it, all is as it was."""
    module = backends.load(BUILT_IN[backend])
    skip_what_cannot_run_here(module, mode)
    module.build(VARIANT, initial_weights(VARIANT), Setup(mode, precision=precision))
    before = process_wide(module)
    yield
    assert process_wide(module) == before


@pytest.fixture
def uncompiled(backend: str, mode: str) -> Iterator[None]:
    """Compilers take seconds per mutant; what they compile is the same source, and the contract's tests compile it."""
    if backend == "torch":
        import torch

        with torch.compiler.set_stance("force_eager"):
            yield
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)
    elif backend == "jax":
        import jax

        if mode == "space_to_depth":  # of so many small operations that one by one they take longer
            jax.config.update("jax_disable_most_optimizations", True)
            yield
            jax.config.update("jax_disable_most_optimizations", False)
        else:
            with jax.disable_jit():
                yield
    else:
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled", "nothing_left_behind")
def test_a_planted_fault_is_caught(backend: str, mode: str, precision: str, fault: str) -> None:
    """Where it must show, and nowhere else: imported weights, shapes and types are right."""
    found = failures(backend, mode, precision, MUTANTS[backend][fault])
    assert {one.quantity.split()[0] for one in found} == FAULTS[fault]


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_the_same_machinery_without_a_fault_passes(backend: str, mode: str, precision: str) -> None:
    """After all mutants, so that it would fail as well if one of them had left something behind."""
    skip_what_cannot_run_here(backends.load(BUILT_IN[backend]), mode)
    assert failures(backend, mode, precision, ()) == []


def test_every_fault_is_planted_in_every_backend(backend: str) -> None:
    assert set(MUTANTS.get(backend, {})) == set(FAULTS)


def test_a_text_that_is_gone_from_the_source_is_refused(backend: str) -> None:
    with pytest.raises(AssertionError, match="no longer contains 'no such text'"):
        edited(BUILT_IN[backend].module, [Edit("no such text", "")])
