"""Checkouts that were copied, moved, renamed or linked, and what their noxfile starts there."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import installing, pins
from tests.commands import ROOT, Done, environment

PACKAGES = ("backends", "bench")
# What the noxfile needs of nox, with the exit code of what it starts: nox itself makes a 1 of every one that is not 0.
# The session `list` is none: it prints what all of them would start.
STAND_IN = """
import os, runpy, subprocess, sys, types
file, wanted, arguments = sys.argv[2], sys.argv[4], sys.argv[6:]
sessions = {}

def session(name="", **_):
    return lambda body: sessions.update({name or body.__name__: body})

def run(*command, **_):
    if wanted == "list":
        print(*command, sep="\\t")
    else:
        sys.exit(subprocess.run(command, env={**os.environ, **own.env}).returncode)

def ignore(*_):
    pass

own = types.SimpleNamespace(posargs=arguments, env={}, log=ignore, install=ignore, error=sys.exit, run=run)
sys.modules["nox"] = types.SimpleNamespace(options=types.SimpleNamespace(), session=session)
os.chdir(os.path.realpath(os.path.dirname(file)))
runpy.run_path(os.path.join(os.getcwd(), os.path.basename(file)))
for name in sessions if wanted == "list" else [wanted]:
    sessions[name](own)
"""
NOX = (sys.executable, "-P", "-c", STAND_IN)


def lay(folder: Path) -> Path:
    """A checkout there: this tree's packages, and environments to run them in."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name)
    return with_environments(folder)


def with_environments(checkout: Path) -> Path:
    """Give it a noxfile and environments that have what this Python has, and, as a decoy, this very tree installed."""
    for name in ("noxfile.py", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    installed = [one for one in sys.path if one.endswith("-packages")]
    for name in ("harness", "numpy"):
        folder = checkout / ".nox" / name
        python, base = installing.interpreter(folder), Path(installing.base_python())
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        for made in (python.parent, packages):
            made.mkdir(parents=True)
        python.symlink_to(base)
        (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n", encoding="utf-8")
        (packages / "decoy.pth").write_text("\n".join([*installed, str(ROOT), ""]), encoding="utf-8")
        (folder / installing.STAMP).write_text(pins.of(name).stamp)
    return checkout


def as_nox(checkout: Path, session: str, *arguments: str, cwd: Path, nox: Sequence[str] = NOX, **environ: str) -> Done:
    """A session of that checkout, in its own environments."""
    command = [*nox, "-f", str(checkout / "noxfile.py"), "-s", session, "--", *arguments]
    variables = environment(cwd, **{installing.ENVIRONMENTS_VARIABLE: "", **environ})
    return subprocess.run(command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def real_nox() -> list[str]:
    """That which runs these tests, or is beside this Python or on the path; skips the test where there is none."""
    python = os.environ.get(installing.PYTHON_WITH_PIP_VARIABLE, sys.executable)
    for nox in ([python, "-P", "-m", "nox"], ["nox"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*nox, "--version"], capture_output=True).returncode == 0:
                return nox
    pytest.skip("there is no nox beside this Python or on the path")


def break_in(checkout: Path) -> str:
    """Break the backend of that checkout, and what a page is made by; the words that tell so."""
    words = f"broken in {checkout.name}"
    for name in ("backends/lenet_numpy.py", "bench/report.py"):
        text = (checkout / name).read_text(encoding="utf-8")
        (checkout / name).unlink()  # else, where it is a link, what it leads to
        (checkout / name).write_text(f"{text}\nraise RuntimeError({words!r})\n", encoding="utf-8")
    return words


def copied(original: Path) -> Path:
    return Path(shutil.copytree(original, original.parent / "copy", symlinks=True))


def moved(original: Path) -> Path:
    (original.parent / "elsewhere").mkdir()
    return Path(shutil.move(original, original.parent / "elsewhere"))


def renamed(original: Path) -> Path:
    return original.rename(original.parent / "renamed")


def linked(original: Path) -> Path:
    link = original.parent / "link"
    link.symlink_to(original)
    return link


def linked_file_by_file(original: Path) -> Path:
    """As `cp -rs` does, or a build tool that keeps what it has seen."""
    return Path(shutil.copytree(original, original.parent / "farm", copy_function=os.symlink))


Kind = Callable[[Path], Path]
KINDS: tuple[Kind, ...] = (copied, moved, renamed, linked, linked_file_by_file)
