"""A run folder as it lies there: every table that can be read, and what is missing or broken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare import refuse_impossible
from bench.results import (
    FILES,
    Accuracy,
    Comparison,
    Curve,
    Equivalence,
    Loss,
    Overhead,
    Process,
    ResultsError,
    Round,
    Row,
    SelfCheck,
    Shape,
    Throughput,
    Verdict,
    case_of,
    printable,
    read_json,
    read_rows,
)
from bench.run import REQUEST_FILE

MACHINE_FILE = "machine.json"
# What a folder has where it is whole, by the file that tells its kind.
WHOLE: dict[type[Any], tuple[type[Any], ...]] = {
    Throughput: (Round, Process, Comparison, Equivalence, Shape),
    Round: (Process,),
    Accuracy: (Curve,),
}


# What is never nought, negative or endless.
POSITIVE: dict[type[Any], tuple[str, ...]] = {
    Throughput: ("step_us", "images_per_s", "batch_size", "threads"),
    Comparison: ("ratio", "total_ratio"),
    Overhead: ("images_per_s_limit",),
    Verdict: ("ratio", "total_ratio"),
}


@dataclass(frozen=True)
class Folder:
    """`tables` are the rows by kind, `machine` what machine.json says, `problems` a line for all that is amiss."""

    path: Path
    tables: Mapping[type[Any], Sequence[Any]]
    machine: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[str] = ()

    def rows(self, kind: type[Row]) -> Sequence[Row]:
        """Every row of that kind, in the order of its file; none where there is no such file."""
        return self.tables.get(kind, ())

    @property
    def name(self) -> str:
        """What a reader knows it by."""
        return printable(self.path.resolve().name)

    @property
    def utc(self) -> str:
        """When it began, ISO 8601; empty where nothing says so."""
        told = (row.utc for kind in (Throughput, Accuracy, Verdict, SelfCheck) for row in self.tables.get(kind, ()))
        return next(told, "")


def read(path: Path) -> Folder:
    """Whatever of the folder can be read. Raises ResultsError where that is nothing."""
    if not path.is_dir():
        raise ResultsError(f"{path}: is no run folder")
    tables: dict[type[Any], Sequence[Any]] = {}
    problems = []
    for kind, name in FILES.items():
        if kind is Loss or not (path / name).exists():
            continue  # a loss per step makes no page
        try:
            tables[kind] = read_rows(path, kind)
            refuse_unreal(path / name, kind, tables[kind])
        except ResultsError as error:
            tables.pop(kind, None)
            problems.append(f"{error}; it is left out")
    empty = [
        FILES[kind] for kind in (Throughput, Round, Process, Accuracy, Curve) if kind in tables and not tables[kind]
    ]
    problems += [f"{path / name}: has no rows" for name in empty]
    if not any(tables.values()):
        reason = problems[0] if problems else f"{path}: holds none of {', '.join(sorted(FILES.values()))}"
        begun = "; go on with --resume" if (path / REQUEST_FILE).exists() and len(problems) == len(empty) else ""
        raise ResultsError(f"{reason}: nothing to report{begun}")
    machine, problem = read_machine(path / MACHINE_FILE)
    problems += [problem] if problem and any(kind in tables for kind in WHOLE) else []
    problems += [f"{path / FILES[kind]}: is not there" for kind in missing(path, tables)]
    problems += unmeasured(path, tables)
    return Folder(path, tables, machine, problems)


def missing(path: Path, tables: Mapping[type[Any], Sequence[Any]]) -> list[type[Any]]:
    """The files that belong to a folder of this kind and are not there."""
    due = [kind for told, others in WHOLE.items() if told in tables for kind in others]
    if Round in tables and Verdict not in tables:
        due.append(Throughput)  # a gate has rounds and verdicts instead
    return [kind for kind in dict.fromkeys(due) if not (path / FILES[kind]).exists()]


def read_machine(path: Path) -> tuple[dict[str, Any], str]:
    """What machine.json says, or why it says nothing."""
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        return {}, f"{path}: cannot be read ({getattr(error, 'strerror', None) or printable(str(error))})"
    if not isinstance(found, dict):
        return {}, f"{path}: does not describe a machine"
    return {name: printable(value) if isinstance(value, str) else value for name, value in found.items()}, ""


def unmeasured(path: Path, tables: Mapping[type[Any], Sequence[Any]]) -> list[str]:
    """A line where the request names cases that have no row."""
    try:
        asked = len(read_json(path / REQUEST_FILE)["request"]["cases"])
    except (OSError, ValueError, KeyError, TypeError):
        return []  # kept runs come without it
    rows = tables.get(Throughput, ())
    if Throughput in tables and len(rows) < asked:
        return [f"{asked - len(rows)} of the {asked} cases that were asked for have no row yet; go on with --resume"]
    return []


def refuse_unreal(path: Path, kind: type[Any], rows: Sequence[Any]) -> None:
    """Raise ResultsError for what no run can have written, whatever its form."""
    if kind is Round:
        refuse_impossible(path, rows)
    for column in POSITIVE.get(kind, ()):
        for row in rows:
            value = getattr(row, column)
            if value is not None and not 0 < value < math.inf:
                raise ResultsError(f"{path}: {column} cannot be {value}")
    if kind is Throughput:
        seen: set[str] = set()
        for row in rows:
            if case_of(row).id in seen:
                raise ResultsError(f"{path}: {case_of(row).id} is there twice")
            seen.add(case_of(row).id)
    if kind is Overhead:
        for row in rows:
            if not all(re.fullmatch("[0-9]{1,9}", size) for size in row.batch_sizes.split()):
                raise ResultsError(f"{path}: batch sizes cannot be {row.batch_sizes!r}")
