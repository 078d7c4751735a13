"""A run: from a request to a run folder, `lenet-bench run`.

Everything that can be refused is refused before the first process starts, and what was measured is
written after every pass. Raw files come first (`rounds.csv`, `processes.csv`); `throughput.csv` is
made from them.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backends import Entry
from backends.lenet import VARIANTS
from bench import data, environments, results
from bench.cases import Case, impossible
from bench.conductor import Conductor, Outcome, Plan
from bench.estimates import Interval, by_case, step_seconds
from bench.machine import Machine
from bench.results import Equivalence, Process, Round, Shape, Throughput
from bench.shapes import shape_rows
from bench.verify import equivalence_rows

MEBIBYTE = 1024 * 1024
MOST_IMAGES = 8192  # two batches of the largest size; more would only be memory


@dataclass(frozen=True)
class Request:
    """What a run is asked to do. `named` are the backends named on the command line: they must be there."""

    cases: tuple[Case, ...]
    named: frozenset[str]
    data: str
    data_dir: Path | None
    interpreters: Mapping[str, Path]
    results: Path
    passes: int
    seed: int
    plan: Plan
    command: str


@dataclass
class Run:
    """What a run has brought home so far, and the folder that it goes to."""

    folder: Path
    request: Request
    registry: Mapping[str, Entry]
    machine: Machine
    utc: str
    processes: list[Process] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    equivalence: list[Equivalence] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)

    def add(self, outcome: Outcome, number: int) -> None:
        """Take in what one process brought home."""
        case, record = outcome.case, outcome.record
        first = all(process.case != case.id for process in self.processes)
        self.processes.append(process_row(outcome, number))
        self.rounds += outcome.rounds
        if record and first:
            proof = record["proof"]
            self.equivalence += equivalence_rows(case, record["version"], proof["comparisons"])
            if all(
                (row.backend, row.mode, row.variant) != (case.backend, case.mode, case.variant) for row in self.shapes
            ):
                self.shapes += shape_rows(case, self.registry[case.backend], proof["shapes"], proof["parameters"])

    def write(self) -> list[Throughput]:
        """Every file of the run folder, as things stand."""
        rows = [self.throughput(case) for case in self.request.cases if any(p.case == case.id for p in self.processes)]
        results.write_rows(self.folder, Round, self.rounds)
        results.write_rows(self.folder, Process, self.processes)
        results.write_rows(self.folder, Equivalence, self.equivalence)
        results.write_rows(self.folder, Shape, self.shapes)
        results.write_rows(self.folder, Throughput, rows)
        return rows

    def throughput(self, case: Case) -> Throughput:
        """One case's row, from all of its processes and rounds."""
        processes = [process for process in self.processes if process.case == case.id]
        ended_badly = [process for process in processes if process.status != "ok"]
        last = ended_badly[-1] if ended_badly else processes[-1]
        rounds = [] if ended_badly else by_case(self.rounds).get(case.id, [])
        step = step_seconds(rounds) if rounds else None
        steps = sum(one.steps for one in rounds)
        entry = self.registry[case.backend]
        return Throughput(
            run_id=self.folder.name,
            utc=self.utc,
            host=self.machine.host,
            cpu=self.machine.cpu,
            gpu=self.machine.gpu,
            os=self.machine.os,
            python=last.python,
            commit=self.machine.commit,
            dirty=self.machine.dirty,
            backend=case.backend,
            version=last.version,
            lane=next(mode.lane for mode in entry.modes if mode.name == case.mode),
            mode=case.mode,
            variant=case.variant,
            device=case.device,
            device_observed=last.device_observed,
            precision=case.precision,
            batch_size=case.batch_size,
            threads=case.threads,
            data=self.request.data,
            passes=len({one.pass_number for one in rounds}),
            rounds=len(rounds),
            **rates(step, case.batch_size),
            import_s=_median(process.import_s for process in processes),
            build_s=_median(process.build_s for process in processes),
            first_step_s=_median(process.first_step_s for process in processes),
            peak_rss_mb=_mebibytes(process.peak_rss_bytes for process in processes),
            peak_device_mb=_mebibytes(process.peak_device_bytes for process in processes),
            effective_cores=sum(r.cpu_seconds for r in rounds) / sum(r.seconds for r in rounds) if rounds else None,
            page_faults_per_step=sum(r.page_faults for r in rounds) / steps if steps else None,
            gemm_peak_share=None,
            stage_error=_largest(process.stage_error for process in processes),
            weight_error=_largest(process.weight_error for process in processes),
            weights_sha256=last.weights_sha256,
            flags=last.switches,
            status=last.status,
            reason=last.reason,
        )


def carry_out(
    request: Request,
    registry: Mapping[str, Entry],
    progress: Callable[[str], None],
    bars: Callable[[str], Any] | None = None,
) -> Run:
    """Measure everything. Raises UsageError before anything is measured where the request cannot be met.

    `bars` makes progress bars for downloads, as `data.load` wants them.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-bench-data-") as scratch:
        variants = {case.variant for case in request.cases}
        folders = write_datasets(variants, request.data, request.data_dir, Path(scratch), bars)
        now = datetime.now(timezone.utc)
        folder = results.make_folder(request.results, f"{now:%Y%m%dT%H%M%S}-{request.seed:08x}")
        machine = Machine.here(environments.SOURCE_ROOT)
        run = Run(folder, request, registry, machine, now.isoformat(timespec="seconds"))
        results.write_json(
            folder / "machine.json", {**machine.details(), "command": request.command, "seed": request.seed}
        )
        interpreters = look_for_environments(run)
        conductor = Conductor(interpreters, request.data, folders, request.plan, random.Random(request.seed), progress)
        live = list(interpreters)
        for number in range(1, request.passes + 1):
            conductor.progress = partial(_report, progress, f"pass {number} of {request.passes}")
            outcomes = conductor.run_pass(live, number)
            for outcome in outcomes:
                run.add(outcome, number)
            live = [outcome.case for outcome in outcomes if outcome.status == "ok"]
            run.write()
        run.write()
    return run


def look_for_environments(run: Run) -> dict[Case, Path]:
    """The interpreter of every case that can be tried; the others get their row at once."""
    found: dict[tuple[str, str], environments.Environment] = {}
    interpreters = {}
    for case in run.request.cases:
        entry = run.registry[case.backend]
        reason = impossible(case, entry)
        if not reason:
            place = (case.backend, case.device)
            if place not in found:
                found[place] = environments.find(entry, case.device, run.request.interpreters)
            reason = found[place].reason
            interpreters[case] = found[place].python
        if reason:
            interpreters.pop(case, None)
            run.add(Outcome(case, "unavailable", reason), 0)
    return interpreters


def write_datasets(
    variants: Collection[str],
    name: str,
    data_dir: Path | None,
    folder: Path,
    bars: Callable[[str], Any] | None = None,
) -> dict[str, Path]:
    """The data of every variant, as arrays that workers map: one folder per variant. Raises DataError."""
    folders = {}
    for variant in variants:
        dataset = data.load(name, VARIANTS[variant].input_size, "train", data_dir, bars)
        folders[variant] = folder / variant
        folders[variant].mkdir()
        np.save(folders[variant] / "images.npy", dataset.images[:MOST_IMAGES])
        np.save(folders[variant] / "labels.npy", dataset.labels[:MOST_IMAGES])
    return folders


def process_row(outcome: Outcome, number: int) -> Process:
    """One outcome as a row: the record's fields by their names, empty where the process did not get that far."""
    own = {one.name for one in fields(Process)}
    record = {name: value for name, value in outcome.record.items() if name in own and name != "switches"}
    empty = {one.name: None if "None" in str(one.type) else "" for one in fields(Process)}
    switches = " ".join(f"{name}={value}" for name, value in outcome.record.get("switches", {}).items())
    said = {"status": outcome.status, "reason": outcome.reason, "flag": outcome.flag, "switches": switches}
    return Process(**{**empty, **record, **said, "case": outcome.case.id, "pass_number": number})


def rates(step: Interval | None, batch_size: int) -> dict[str, float | None]:
    """Microseconds per step and images per second with their intervals, all None where nothing was timed."""
    value, low, high = (step.value, step.low, step.high) if step else (None, None, None)
    return {
        "step_us": value and value * 1e6,
        "step_us_low": low and low * 1e6,
        "step_us_high": high and high * 1e6,
        "images_per_s": value and batch_size / value,
        "images_per_s_low": high and batch_size / high,
        "images_per_s_high": low and batch_size / low,
    }


def exit_code(run: Run) -> int:
    """0 all there, 1 a backend is not the reference's network, 4 a case that was asked for is missing."""
    if any(process.flag == "mismatch" for process in run.processes):
        return 1
    missing = [process for process in run.processes if process.status != "ok"]
    asked_for = {case.id for case in run.request.cases if case.backend in run.request.named}
    if any(process.status == "failed" or process.case in asked_for for process in missing):
        return 4
    return 0


def _report(progress: Callable[[str], None], where: str, text: str) -> None:
    progress(f"{where}, {text}")


def _median(values: Any) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def _largest(values: Any) -> Any:
    return max((value for value in values if value is not None), default=None)


def _mebibytes(values: Any) -> float | None:
    most = _largest(values)
    return None if most is None else most / MEBIBYTE
