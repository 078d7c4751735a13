"""Where each backend runs: the interpreter of its own environment, or the reason why there is none.

`ready` makes the environments that are missing (`installing.py`), in `.nox/<backend>` (`.nox/<backend>-cuda` for
CUDA), and a line in `unavailable.txt` says why one could not be made. `--python backend=PATH` names another
interpreter, which needs NumPy, pytest, pytest-benchmark and the framework, and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import BUILT_IN, Entry, Mode
from bench import ground, installing, pins, spelling, tree
from bench.cases import Case, UsageError
from bench.paths import path_of

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


def ready(
    cases: Collection[Case],
    registry: Mapping[str, Entry],
    interpreters: Mapping[str, Path],
    wanted: Sequence[str],
    say: Callable[[str], None],
    option: str = "--with",
) -> dict[str, Path]:
    """Make what these cases need and is missing; the interpreters, and those of backends whose pins `wanted` replaces.

    What cannot be made is found out by `find`. Raises UsageError where `wanted` replaces nothing.
    """
    replaced = pins_replaced(wanted, cases, registry, interpreters, option)
    needed = [
        pins.of_place(place) for place in places(cases, registry) if place[0].name not in {*interpreters, *replaced}
    ]
    make([*replaced.values(), *filter(None, needed)], say)
    folder = installing.environments_folder()
    return {**interpreters, **{name: installing.interpreter(folder / own.name) for name, own in replaced.items()}}


def pins_replaced(
    wanted: Sequence[str],
    cases: Collection[Case],
    registry: Mapping[str, Entry],
    elsewhere: Collection[str] = (),
    option: str = "--with",
) -> dict[str, pins.Pins]:
    """What `--with` or `--base-with` replaces, by backend, but for those that run `elsewhere`. Raises UsageError."""
    try:
        own = [place for place in places(cases, registry) if place[0].name not in elsewhere]
        return pins.replaced(wanted, own, option)
    except pins.UnknownPins as error:
        raise UsageError(str(error)) from error


def places(cases: Collection[Case], registry: Mapping[str, Entry]) -> list[pins.Place]:
    """Which backends have to run on which devices, as far as they can."""
    asked = dict.fromkeys((case.backend, case.device) for case in cases)
    return [(registry[name], device) for name, device in asked if device in registry[name].devices]


def make(wanted: Sequence[pins.Pins], say: Callable[[str], None]) -> dict[str, str]:
    """Make environments, all at the same time; by name, why one could not be made. Raises UsageError."""
    try:
        return installing.make_all(wanted, say)
    except (installing.NotMade, OSError) as error:
        raise UsageError(str(error)) from error


def find(entry: Entry, device: str, interpreters: Mapping[str, Path]) -> Environment:
    """The environment of a backend for a device, probed for everything that a worker imports."""
    if entry.name in interpreters:
        python, way_out = interpreters[entry.name], "install them there"
    else:
        name = entry.environment(device)
        folder = installing.environments_folder() / name
        command = "nox -s environments --" if tree.is_checkout() else "lenet-bench environments"
        python, way_out = installing.interpreter(folder), f"`{command} remove {name}` has it made anew"
    note = python.parent.parent / installing.REASON_FILE
    if note.is_file():
        return Environment(entry.name, python, note.read_text(encoding="utf-8").strip())
    if not python.is_file():
        return Environment(entry.name, python, f"there is no {python}; {way_out}")
    if entry.name not in interpreters and not (folder / installing.STAMP).is_file():
        return Environment(entry.name, python, f"{folder} was never finished; {way_out}")
    own = pins.of_place((entry, device)) if entry.name not in interpreters else None
    if own and not installing.is_ready(own):
        return Environment(entry.name, python, f"{folder} was made from other pins than these; {way_out}")
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
        path = path_of(value, f"{option} {name}").absolute()
        interpreters[name] = installing.interpreter(path) if path.is_dir() else path
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
    near = spelling.suggestion("backend", name, [entry.name for entry in BUILT_IN])
    raise UsageError(f"the interpreter {name}={python}: no backend {name!r} is built in or registered there{near}")


def _ask(python: Path, program: str, *arguments: str) -> Any:
    """What a program printed as JSON. Raises NoAnswer."""
    command = [str(python), "-c", program, *arguments]
    with tempfile.TemporaryDirectory(prefix="lenet-bench-") as scratch:
        environment = ground.environment({}, str(tree.lay_out(Path(scratch) / "tree")))
        try:
            done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, timeout=PROBE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoAnswer(f"{python} does not run ({error})") from error
    try:
        answer = json.loads(done.stdout)
        return answer["answer"]
    except (ValueError, TypeError, KeyError) as error:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode == 0:
            raise NoAnswer(f"{python} does not answer: something that is installed there prints or exits") from error
        raise NoAnswer(f"{python} is no Python ({said[-1] if said else f'exit status {done.returncode}'})") from error
