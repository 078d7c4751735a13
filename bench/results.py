"""The run folder: what stands in which CSV, and the only code that reads or writes one.

The header of each file is the fields of one dataclass, which reader and writer share; a file with
another header is refused by name, but for one that lacks the last columns where those have defaults: it is older.
A file appears whole or not at all. Raw files hold seconds and counts, never rates.

A spreadsheet takes text that begins with `=` or the like for a formula, so such text has an apostrophe before it.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import json
import math
import os
import re
import tempfile
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.cases import Case, UsageError

Row = TypeVar("Row")
# Characters of a broken file that a message quotes.
LONGEST_TOLD = 80
# What a spreadsheet computes; and what is written so that it does not, as many apostrophes as it had and one.
FORMULA = re.compile(r"'*[=+\-@\t\n]")
ESCAPED = re.compile(r"'+[=+\-@\t\n]")


class ResultsError(UsageError):
    """A run folder that cannot be read or written; exit code 2."""


@dataclass(frozen=True)
class Round:
    """rounds.csv: one timed unit of one case, as it was measured."""

    case: str
    pass_number: int
    round: int
    sweep: int
    order: int
    steps: int
    images: int
    seconds: float
    cpu_seconds: float
    waited_seconds: float
    page_faults: int
    involuntary_switches: int
    throttled_seconds: float = 0.0


@dataclass(frozen=True)
class Process:
    """processes.csv: one process of one case in one pass: how it ended, and what it cost to get going."""

    case: str
    pass_number: int
    status: str
    reason: str
    flag: str
    python: str
    version: str
    device_observed: str
    import_s: float | None
    build_s: float | None
    first_step_s: float | None
    peak_rss_bytes: int | None
    peak_device_bytes: int | None
    stage_error: float | None
    weight_error: float | None
    left_undone: float | None
    twice: float | None
    weights_sha256: str
    switches: str


@dataclass(frozen=True)
class Throughput:
    """throughput.csv: one row per case, whether it could run or not. None is an empty cell."""

    run_id: str
    utc: str
    host: str
    cpu: str
    gpu: str
    os: str
    python: str
    commit: str
    dirty: str
    backend: str
    version: str
    lane: str
    mode: str
    variant: str
    device: str
    device_observed: str
    precision: str
    batch_size: int
    threads: int
    data: str
    passes: int
    rounds: int
    step_us: float | None
    step_us_low: float | None
    step_us_high: float | None
    images_per_s: float | None
    images_per_s_low: float | None
    images_per_s_high: float | None
    import_s: float | None
    build_s: float | None
    first_step_s: float | None
    peak_rss_mb: float | None
    peak_device_mb: float | None
    effective_cores: float | None
    page_faults_per_step: float | None
    gemm_peak_share: float | None
    stage_error: float | None
    weight_error: float | None
    weights_sha256: str
    flags: str
    status: str
    reason: str
    feed: str
    calm_share: float | None
    waited_share: float | None
    drift: float | None
    control_gflops: float | None
    allocator: str
    cpus: str


@dataclass(frozen=True)
class Comparison:
    """comparisons.csv: how many times as long as a step of `other` a step of `case` takes, sweep by sweep."""

    case: str
    other: str
    ratio: float
    ratio_low: float | None
    ratio_high: float | None
    total_ratio: float
    passes: int
    verdict: str


@dataclass(frozen=True)
class Overhead:
    """overhead.csv: one line through a case's batch sizes: a step takes `overhead_us` and `image_us` per image."""

    backend: str
    version: str
    lane: str
    mode: str
    variant: str
    device: str
    precision: str
    threads: int
    feed: str
    batch_sizes: str
    passes: int
    overhead_us: float
    overhead_us_low: float | None
    overhead_us_high: float | None
    images_per_s_limit: float
    images_per_s_limit_low: float | None
    images_per_s_limit_high: float | None
    worst_misfit: float


@dataclass(frozen=True)
class Verdict:
    """verdicts.csv: one case of a gate or of a comparison of two runs: the head's step beside the base's."""

    run_id: str
    utc: str
    case: str
    base: str
    head: str
    base_version: str
    head_version: str
    basis: str
    verdict: str
    reason: str
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    total_ratio: float | None
    bound: float | None
    pair_sd: float | None
    resolves: float | None
    total_resolves: float | None
    passes: int
    second_ratio: float | None
    second_total_ratio: float | None
    second_bound: float | None
    second_resolves: float | None
    second_passes: int
    base_step_us: float | None
    head_step_us: float | None


@dataclass(frozen=True)
class SelfCheck:
    """selfcheck.csv: one case beside itself: identical, as a plain loop, or slowed down on purpose."""

    case: str
    beside: str
    injected: float
    every: int
    passes: int
    rounds: int
    found: float
    found_low: float | None
    found_high: float | None
    found_total: float
    pair_sd: float
    catches: float
    verdict: str
    utc: str
    cpu: str
    host: str


@dataclass(frozen=True)
class Equivalence:
    """equivalence.csv: one comparison with the float64 NumPy reference."""

    backend: str
    version: str
    mode: str
    variant: str
    device: str
    precision: str
    batch_size: int
    quantity: str
    steps: int
    error: float
    tolerance: float
    worst: str
    verdict: str


@dataclass(frozen=True)
class Shape:
    """shapes.csv: one stage of one backend beside what the output-size formula says."""

    variant: str
    stage: str
    backend: str
    mode: str
    shape: str
    native_shape: str
    formula: str
    parameters: int
    formula_parameters: int
    receptive_field: int
    verdict: str


@dataclass(frozen=True)
class Curve:
    """curves.csv: one look at the test images during a training."""

    case: str
    seed: int
    epoch: float
    steps: int
    learning_rate: float
    seconds: float
    train_loss: float
    test_loss: float
    accuracy: float


@dataclass(frozen=True)
class Loss:
    """losses.csv: the mean loss of one batch, before its step."""

    case: str
    seed: int
    step: int
    loss: float


@dataclass(frozen=True)
class Accuracy:
    """accuracy.csv: one case of a training run, the median over its seeds."""

    run_id: str
    utc: str
    host: str
    cpu: str
    gpu: str
    os: str
    commit: str
    dirty: str
    backend: str
    version: str
    lane: str
    mode: str
    variant: str
    device: str
    precision: str
    batch_size: int
    threads: int
    data: str
    initialisation: str
    normalisation: str
    learning_rate: float
    schedule: str
    epochs: int
    seeds: str
    parameters: int
    final_accuracy: float | None
    best_accuracy: float | None
    seconds_to_985: float | None
    seconds_to_990: float | None
    train_seconds: float | None
    images_per_s: float | None
    peak_rss_mb: float | None
    losses_apart: float | None
    losses_tolerance: float | None
    epoch_loss_apart: float | None
    agreement: str
    flags: str
    status: str
    reason: str


def case_of(row: Throughput | Accuracy) -> Case:
    """The case that a row is about."""
    feed = row.feed if isinstance(row, Throughput) else "resident"
    return Case(row.backend, row.mode, row.variant, row.device, row.precision, row.batch_size, row.threads, feed=feed)


FILES: dict[type[Any], str] = {
    Round: "rounds.csv",
    Process: "processes.csv",
    Throughput: "throughput.csv",
    Comparison: "comparisons.csv",
    Overhead: "overhead.csv",
    Verdict: "verdicts.csv",
    SelfCheck: "selfcheck.csv",
    Equivalence: "equivalence.csv",
    Shape: "shapes.csv",
    Curve: "curves.csv",
    Loss: "losses.csv",
    Accuracy: "accuracy.csv",
}


def write_rows(folder: Path, kind: type[Row], rows: Iterable[Row]) -> Path:
    """Write the file of that kind into the folder, replacing it whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(kind))
    for row in rows:
        writer.writerow(map(cell_of, dataclasses.astuple(row)))  # type: ignore[call-overload]
    path = folder / FILES[kind]
    write_text(path, text.getvalue())
    return path


def read_rows(folder: Path, kind: type[Row]) -> list[Row]:
    """Every row of that kind's file in the folder. Raises ResultsError naming the file and the line."""
    path = folder / FILES[kind]
    text = _text_of(path)
    lines = csv.reader(io.StringIO(text))
    try:
        header, *body = list(lines) or [[]]
    except csv.Error as error:
        raise ResultsError(f"{path}: line {lines.line_num} is no CSV ({error})") from error
    columns = _columns(kind)
    if header != columns[: len(header)] or not set(columns[len(header) :]) <= _optional(kind):
        raise ResultsError(f"{path}: has other columns than this version writes ({_odd(header, columns)})")
    if not text.endswith("\n"):
        raise ResultsError(f"{path}: ends in the middle of line {text.count(chr(10)) + 1}; the file is truncated")
    parsers = [_parser(hint) for hint in typing.get_type_hints(kind).values()]
    rows = []
    for number, cells in enumerate(body, start=2):
        if len(cells) != len(header):
            raise ResultsError(f"{path}: line {number} has {len(cells)} cells, not {len(header)}")
        values = []
        for column, parse, cell in zip(columns, parsers, cells):
            try:
                values.append(parse(cell))
            except ValueError as error:
                raise ResultsError(f"{path}: line {number}: {column} cannot be {cell[:LONGEST_TOLD]!r}") from error
        rows.append(kind(*values))
    return rows


def read_rows_if_any(folder: Path, kind: type[Row]) -> list[Row]:
    """The same, but nothing where the file is not there."""
    return read_rows(folder, kind) if (folder / FILES[kind]).exists() else []


def cell_of(value: Any) -> Any:
    """A value as a CSV has it: nothing for None, and text that would be a formula behind an apostrophe."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = value.replace("\r", "\n")  # which csv quotes; a reader makes a space of either
    return f"'{text}" if FORMULA.match(text) else text


def text_of_cell(cell: str) -> str:
    """The inverse of `cell_of` for text, on one line."""
    return printable(cell[1:] if ESCAPED.match(cell) else cell)


def printable(text: str) -> str:
    """What another process or file said, on one line and without what terminals and files cannot hold."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file says, whatever mark an editor put before it. Raises OSError or ValueError."""
    if path.exists() and not path.is_file():
        raise OSError("is no file")
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file whole: the new content is on the disk before it takes the name. Raises ResultsError."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "wb") as file:
                os.chmod(file.fileno() if os.chmod in os.supports_fd else temporary, 0o644)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error


def remove_leftovers(folder: Path) -> None:
    """Delete what was being written when a run was killed, and never got its name."""
    for path in folder.rglob(".*"):
        if path.is_file() and re.fullmatch(r"\..+\.(csv|json|npz|html|md|png)\.\w{8}", path.name):
            path.unlink()


def make_folder(results: Path, run_id: str) -> Path:
    """A new folder for a run, proven writable before anything is measured."""
    make_writable(results)
    folder = results / run_id
    try:
        folder.mkdir()
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be made ({error.strerror or error}); choose another folder") from error
    return folder


def make_writable(folder: Path) -> None:
    """Make the folder if it is not there, and prove that a file can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error


def _columns(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _optional(kind: type[Any]) -> set[str]:
    """The columns that a file of an older version may lack."""
    return {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}


def _odd(header: list[str], columns: list[str]) -> str:
    """What is wrong with a header, as short as a message has room for."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            return f"it is separated by {name}: save it with commas"
    odd = sorted(set(columns) ^ set(header)) or ["their order"]
    return printable(", ".join(odd[:3]))[:LONGEST_TOLD]


def _text_of(path: Path) -> str:
    """A CSV's text, without the mark that some programs put before it. Raises ResultsError."""
    if path.exists() and not path.is_file():
        raise ResultsError(f"{path}: is no file")
    try:
        content = path.read_bytes()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:4]:
            raise ResultsError(f"{path}: cannot be read (it looks like UTF-16: save it as CSV in UTF-8)")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parser(hint: Any) -> typing.Callable[[str], Any]:
    if isinstance(hint, types.UnionType):
        parse = _parser(next(part for part in hint.__args__ if part is not type(None)))
        return lambda cell: parse(cell) if cell else None
    if hint is float:
        return _finite
    if hint is str:
        return text_of_cell
    return typing.cast(typing.Callable[[str], Any], hint)


def _finite(cell: str) -> float:
    value = float(cell)
    if math.isnan(value):
        raise ValueError("not a number")
    return value
