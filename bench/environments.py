"""Where each backend runs: the interpreter of its own environment, or the reason why there is none.

nox makes the environments (see `noxfile.py`) in `.nox/<backend>` (`.nox/<backend>-cuda` for CUDA) and
leaves a line in `unavailable.txt` where it could not. `--python backend=PATH` names another
interpreter, which needs NumPy, pytest, pytest-benchmark and the framework, and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import Entry, Mode
from bench import ground
from bench.cases import UsageError

SOURCE_ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS_VARIABLE = "LENET_BENCH_ENVIRONMENTS"
REASON_FILE = "unavailable.txt"
OLDEST_PYTHON = (3, 10)
PROBE_SECONDS = 60

# Runs in the backend's interpreter, whatever is installed there: says which modules a worker would miss.
PROBE = """
import importlib.util, json, sys
def missing(name):
    try:
        spec = importlib.util.find_spec(name)
    except Exception:
        return True
    return spec is None or spec.origin is None
names = dict.fromkeys(sys.argv[1:])
print(json.dumps({"answer": {"python": sys.version_info[:3], "missing": [n for n in names if missing(n)]}}))
"""

# Asks an interpreter for the backends that packages installed there register.
ENTRIES = """
import dataclasses, json, backends
print(json.dumps({"answer": [dataclasses.asdict(entry) for entry in backends.registry().values()]}))
"""


class NoAnswer(Exception):
    """An interpreter that does not run, or does not say what it was asked."""


@dataclass(frozen=True)
class Environment:
    """`python` is the interpreter; where `reason` is not empty, the backend cannot run there."""

    backend: str
    python: Path
    reason: str = ""


def find(entry: Entry, device: str, interpreters: Mapping[str, Path]) -> Environment:
    """The environment of a backend for a device, probed for everything that a worker imports."""
    if entry.name in interpreters:
        python, way_out = interpreters[entry.name], "install them there"
    else:
        name = entry.environment(device)
        python, way_out = (
            _interpreter(_environments() / name),
            f"delete {_environments() / name} if it is there; nox makes it anew",
        )
    note = python.parent.parent / REASON_FILE
    if note.is_file():
        return Environment(entry.name, python, note.read_text(encoding="utf-8").strip())
    if not python.is_file():
        return Environment(entry.name, python, f"there is no {python}; {way_out}")
    try:
        answer = _ask(python, PROBE, "numpy", "pytest", "pytest_benchmark", entry.framework)
    except NoAnswer as error:
        return Environment(entry.name, python, str(error))
    if tuple(answer["python"]) < OLDEST_PYTHON:
        have, need = (".".join(map(str, version)) for version in (answer["python"], OLDEST_PYTHON))
        return Environment(entry.name, python, f"{python} is Python {have}; {need} or newer is needed")
    if answer["missing"]:
        return Environment(entry.name, python, f"{', '.join(answer['missing'])} missing in {python}; {way_out}")
    return Environment(entry.name, python)


def parse_interpreters(pairs: list[str], option: str = "--python") -> dict[str, Path]:
    """`torch=/opt/conda/bin/python` as a mapping; an environment's folder will do. Raises UsageError."""
    interpreters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} {pair!r} is not of the form backend=PATH")
        path = Path(value).expanduser().absolute()
        interpreters[name] = _interpreter(path) if path.is_dir() else path
    return interpreters


def registered_at(python: Path, name: str) -> Entry:
    """The registry entry that a package installed for that interpreter gives a backend. Raises UsageError."""
    try:
        answer = _ask(python, ENTRIES)
    except NoAnswer as error:
        raise UsageError(f"the interpreter {name}={python}: {error}") from error
    for fields in answer:
        if fields["name"] == name:
            fields["modes"] = tuple(Mode(**mode) for mode in fields["modes"])
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
            }
            return Entry(**values)
    raise UsageError(f"the interpreter {name}={python}: no backend {name!r} is built in or registered there")


def _ask(python: Path, program: str, *arguments: str) -> Any:
    """What a program printed as JSON. Raises NoAnswer."""
    environment = ground.environment({}, str(SOURCE_ROOT))
    command = [str(python), "-c", program, *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"{python} does not run ({error})") from error
    try:
        answer = json.loads(done.stdout)
        return answer["answer"]
    except (ValueError, TypeError, KeyError) as error:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoAnswer(f"{python} is no Python ({said[-1] if said else f'exit status {done.returncode}'})") from error


def _environments() -> Path:
    return Path(os.environ.get(ENVIRONMENTS_VARIABLE, SOURCE_ROOT / ".nox"))


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
