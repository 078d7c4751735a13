"""What holds a backend together, and that the harness imports no framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backends import BUILT_IN, Entry, Mode, wrong_in

ROOT = Path(__file__).absolute().parent.parent
FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax", "mxnet")


def imported_frameworks(program: str) -> list[str]:
    """Which frameworks a fresh interpreter has imported after running a program, with nothing of the user's."""
    command = [sys.executable, "-X", "importtime", "-c", program]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
    names = {
        line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "import time" in line
    }
    return sorted(names & set(FRAMEWORKS))


@pytest.mark.slow
def test_the_harness_imports_no_framework() -> None:
    modules = [f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py") if path.stem != "__init__"]
    assert imported_frameworks(f"import backends, bench, {', '.join(sorted(modules))}") == []


def test_the_check_above_can_fail(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    assert imported_frameworks(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import backends, torch") == [
        "torch"
    ]


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.name)
def test_a_backend_is_a_file_a_row_of_the_table_and_a_requirement_file(entry: object) -> None:
    name = entry.name  # type: ignore[attr-defined]
    assert (ROOT / "backends" / f"lenet_{name}.py").is_file()
    assert entry.module == f"backends.lenet_{name}"  # type: ignore[attr-defined]
    requirements = (ROOT / "backends" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    for package in ("pytest==", "pytest-benchmark=="):
        assert f"\n{package}" in requirements
    for device in entry.devices:  # type: ignore[attr-defined]
        if device != "cpu":
            assert (ROOT / "backends" / "requirements" / f"{name}-{device}.txt").is_file()


def test_no_place_is_left_over() -> None:
    """A file without a row, or a requirement file without either, is a backend that nobody runs."""
    names = {entry.name for entry in BUILT_IN}
    assert {path.stem.removeprefix("lenet_") for path in (ROOT / "backends").glob("lenet_*.py")} == names
    stems = {path.stem for path in (ROOT / "backends" / "requirements").glob("*.txt")}
    assert stems - {"harness"} == names | {f"{e.name}-{d}" for e in BUILT_IN for d in e.devices if d != "cpu"}


def test_contributing_lists_the_three_places() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for place in ("backends/lenet_<name>.py", "backends/__init__.py", "backends/requirements/<name>.txt"):
        assert f"`{place}`" in text


def test_requirements_are_pinned() -> None:
    for path in (ROOT / "backends" / "requirements").glob("*.txt"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        assert all(re.match(r"[a-z0-9\[\]-]+==\d", line) for line in lines), path
        assert [line for line in lines if line.startswith("numpy==")], f"{path}: any NumPy will do, a broken one too"


def test_no_file_is_named_like_a_framework() -> None:
    """Run or collected by path, it would shadow the framework."""
    for folder in ("backends", "bench", "tests", "."):
        assert not [path for path in (ROOT / folder).glob("*.py") if path.stem in (*FRAMEWORKS, "numpy")]


GOOD = Entry("mine", "mine.lenet", "mine", (Mode("eager", "tutorial", "as it comes"),))


def test_an_entry_that_can_be_a_row_is_one() -> None:
    assert wrong_in(GOOD) == ""
    assert [wrong_in(entry) for entry in BUILT_IN] == [""] * len(BUILT_IN)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"framework": 5}, "its framework 5 is no text"),
        ({"devices": ()}, "its devices () are no tuple of names"),
        ({"devices": "cpu"}, "its devices 'cpu' are no tuple of names"),
        ({"modes": [GOOD.modes[0]]}, "are no tuple of backends.Mode"),
        ({"modes": (Mode("a/b", "tutorial", ""),)}, "'a/b' is no name"),
        ({"modes": (Mode("eager", "beginner", ""),)}, "its lane 'beginner' is none of tutorial, expert"),
        ({"name": "../mine"}, "'../mine' is no name"),
    ],
)
def test_a_malformed_entry_is_refused_in_a_line(change: dict[str, object], told: str) -> None:
    assert told in wrong_in(replace(GOOD, **change))  # type: ignore[arg-type]
