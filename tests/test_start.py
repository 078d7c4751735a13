"""Whose code runs: this tree's, whatever lies in the working directory, on PYTHONPATH, or beside the packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import tree

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("backends", "bench", "torch", "json", "random", "conftest", "pytest", "typer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: every file in it ends whoever imports it."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported: {name}')\n")
    (tmp_path / "tmp").mkdir()
    return tmp_path


def run(folder: Path, path: str, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder / "tmp"), "LENET_BENCH_INSTALLER": "none"}
    return subprocess.run([sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True)


@pytest.mark.slow
def test_nothing_of_the_users_is_imported_by_the_command_or_its_workers(folder: Path) -> None:
    path = f":{folder}"  # an empty part means the working directory, which is the same folder
    start = str(ROOT / "bench" / "__main__.py")
    numpy = ("--backend", "numpy", "--mode", "im2col", "--python", f"numpy={sys.executable}")
    length = ("--quick", "--passes", "1", "--data", "synthetic", "--seed", "1")
    for command in (("shapes", *numpy), ("run", *numpy, *length)):
        done = run(folder, path, start, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "imported" not in done.stdout + done.stderr
    assert run(folder, path, "-c", "import bench.cli").stderr == "imported: bench\n", "these files can be imported"


def test_a_worker_sees_the_two_packages_and_nothing_that_lies_beside_them(tmp_path: Path) -> None:
    laid = tree.lay_out(tmp_path / "tree")
    assert {path.name for path in laid.iterdir()} == {"backends", "bench"}
    assert (laid / "bench" / "pytest.ini").read_bytes() == (ROOT / "bench" / "pytest.ini").read_bytes()
