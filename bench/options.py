"""Options that several commands have, and what their values mean."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

import backends
from backends import LANES, Entry
from bench import environments, ground, spelling
from bench.cases import Case, Selection, UsageError
from bench.data import NAMES, SOURCES
from bench.paths import path_of

LONGEST_SECONDS = 1_000_000
VARIED_BATCHES = (1, 4, 16, 64, 128, 256, 1024, 4096)
AXES = ("batch", "threads")
ALLOCATORS = ("steady", "system")


def placed(parameter: typer.CallbackParam, value: Any) -> Any:
    """The path that a parameter's words are, or every one of several. Raises UsageError."""
    if isinstance(value, (list, tuple)):
        return [path_of(one, parameter.opts[0]) for one in value]
    return None if value is None else path_of(value, parameter.opts[0])


def path_option(*names: str, metavar: str = "PATH", **words: Any) -> Any:
    """An option that is a path, with `~` for the home folder: typer itself would make `.` of an empty one."""
    return typer.Option(*names, parser=str, callback=placed, metavar=metavar, **words)


def path_argument(**words: Any) -> Any:
    """The same for an argument, or several of them."""
    return typer.Argument(parser=str, callback=placed, **words)


Backends = Annotated[list[str], typer.Option("--backend", help="only these backends; each must be able to run")]
Modes = Annotated[list[str], typer.Option("--mode", help="only these modes")]
Lanes = Annotated[list[str], typer.Option("--lane", help="tutorial, expert or all; where modes are named, all")]
Variants = Annotated[list[str], typer.Option("--variant", help="variants of the network")]
Devices = Annotated[list[str], typer.Option("--device", help="cpu or cuda")]
Precisions = Annotated[list[str], typer.Option("--precision", help="float32, float64 or tf32")]
Data = Annotated[str, typer.Option("--data", help=f"one of {', '.join(NAMES)}")]
DataDir = Annotated[Path | None, path_option("--data-dir", help="folder with IDX files, gzip or plain")]
Pythons = Annotated[
    list[str], typer.Option("--python", metavar="BACKEND=PATH", help="run a backend in this interpreter")
]
With = Annotated[
    list[str],
    typer.Option("--with", metavar="PACKAGE==VERSION", help="instead of that pin, in an environment of its own"),
]
Results = Annotated[Path, path_option("--results", help="where run folders go")]
Resume = Annotated[Path | None, path_option("--resume", metavar="RUN", help="go on with an interrupted run")]


def finite(value: float) -> float:
    """A number of seconds that a clock can wait. Raises UsageError."""
    if not value <= LONGEST_SECONDS:
        raise UsageError(f"--deadline {value} is more than {LONGEST_SECONDS} seconds")
    return value


Deadline = Annotated[
    float, typer.Option("--deadline", min=1, callback=finite, help="seconds that a process may take to get ready")
]

AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="a case that one side does not have is no failure")]


def known_backends(interpreters: dict[str, Path]) -> dict[str, Entry]:
    """The registry here, and what the named interpreters register beside it."""
    try:
        registry = backends.registry()
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name, path in interpreters.items():
        if name not in registry:
            registry[name] = environments.registered_at(path, name)
    return registry


def select(
    backend: list[str],
    mode: list[str],
    lane: list[str],
    variant: list[str],
    device: list[str],
    precision: list[str],
    batch: list[str],
    threads: list[str],
) -> Selection:
    """What the options of a command that times ask for; the tutorial lane, where neither modes nor lanes are named."""
    return Selection(
        backends_of(backend),
        names(mode),
        names(variant),
        names(device),
        names(precision),
        numbers("--batch", batch),
        numbers("--threads", threads),
        lanes=lanes(lane or ["all" if mode else "tutorial"]),
    )


def varied(selection: Selection, axis: str) -> Selection:
    """The selection at every batch size, or with every power of two of threads and all CPUs. Raises UsageError."""
    if axis == "batch":
        return replace(selection, batch_sizes=VARIED_BATCHES)
    if axis == "threads":
        cpus = len(ground.allowed_cpus())
        powers = (2**exponent for exponent in range(cpus.bit_length()))
        return replace(selection, threads=tuple(dict.fromkeys([*(n for n in powers if n <= cpus), cpus])))
    raise UsageError(f"--vary {axis!r} is neither batch nor threads{spelling.suggestion('axis', axis, AXES)}")


def lanes(values: list[str]) -> tuple[str, ...]:
    """The lanes of `--lane`; `all` is every one, as is none. Raises UsageError for one that is unknown beside it."""
    for name in names(values):
        if name not in ("all", *LANES):
            raise UsageError(spelling.unknown("lane", name, ["all", *LANES]))
    return () if "all" in names(values) else names(values)


def refuse_without_effect(context: typer.Context, why: str, *names: str) -> None:
    """Raise UsageError where the command line itself says one of these parameters, which then changes nothing."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{parameter.opts[0]} has no effect {why}; leave it out")


def refuse_beside_resume(context: typer.Context) -> None:
    """A run that is resumed goes on as it was asked for. Raises UsageError where an option says otherwise."""
    others = [name for name in context.params if name != "resume"]
    refuse_without_effect(context, "beside --resume: the run goes on as it was begun", *others)


def refuse_unread(data_dir: Path | None, data: str) -> None:
    """Raise UsageError for a folder that is named beside a data set which is read from none."""
    if data_dir is not None and data in NAMES and data not in SOURCES:
        raise UsageError(f"--data-dir {data_dir} has no effect on --data {data}; leave it out, or add --data mnist")


def backends_of(values: list[str]) -> tuple[str, ...]:
    """The names of `--backend`; `all` is every one, and stands alone. Raises UsageError."""
    found = names(values)
    if "all" in found and len(found) > 1:
        raise UsageError(f"--backend {','.join(found)}: all is every backend; leave the others out")
    return () if "all" in found else found


def refuse_unused(interpreters: Collection[str], cases: Collection[Case]) -> None:
    """An interpreter that is named and then not asked would be a measurement of something else. Raises UsageError."""
    for name in interpreters:
        if all(case.backend != name for case in cases):
            raise UsageError(
                f"an interpreter is named for {name}, which is not among the backends; add --backend {name}"
            )


def names(values: list[str]) -> tuple[str, ...]:
    """`a,b` and `c` as a, b, c; each once. Raises UsageError where an option was given nothing."""
    for value in values:
        if not value.strip(" ,"):
            raise UsageError(f"{value!r} names nothing; leave the option out for everything")
    return tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


def numbers(option: str, values: list[str]) -> tuple[int, ...]:
    found = []
    for name in names(values):
        try:
            found.append(int(name))
        except ValueError as error:
            raise UsageError(f"{option} {name!r} is not a whole number") from error
    return tuple(found)


def share(option: str, value: str) -> float:
    """`3%` or `0.03` as 0.03."""
    try:
        found = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f"{option} {value!r} is not a share such as 3%") from error
    if not 0 < found < 1:
        near = f": did you mean {value}%?" if 1 <= found < 100 and not value.endswith("%") else ""
        raise UsageError(f"{option} {value!r} is not between 0 and 100 %{near}")
    return found
