"""A run: from a request to a run folder, `lenet-bench run`.

Everything that can be refused is refused before the first process starts, and what was measured is
written after every pass. Raw files come first (`rounds.csv`, `processes.csv`); `throughput.csv` is
made from them.
"""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from backends import Entry
from backends.lenet import VARIANTS, step_multiply_adds
from bench import data, environments, quota, results
from bench.benchmark_json import FILE as BENCHMARK_FILE
from bench.benchmark_json import benchmark_json
from bench.cases import Case, Selection, UsageError, expand, impossible
from bench.conductor import LEFT_OUT, Conductor, Outcome, Plan, shared_cpus
from bench.control import FLOPS, control_of
from bench.estimates import (
    CALM_BOUND,
    FEWEST_POINTS,
    MOST_DRIFT,
    MOST_WAITED,
    Interval,
    calm_sweeps,
    disturbed_passes,
    drift,
    in_sweeps,
    line_through,
    ratio,
    step_seconds,
    throttled_share,
    usable_rounds,
    verdict,
    waited_share,
)
from bench.machine import Machine
from bench.progress import Limits, names_of, pass_of, told_in
from bench.results import Comparison, Equivalence, Overhead, Process, Round, Shape, Throughput
from bench.shapes import shape_rows
from bench.tree import SOURCE_ROOT, fingerprint
from bench.turns import UNTRIED
from bench.verify import equivalence_rows

FEWEST_PASSES = 3
REQUEST_FILE = "request.json"
MEBIBYTE = 1024 * 1024
MOST_IMAGES = 8192  # two batches of the largest size; more would only be memory


@dataclass(frozen=True)
class Request:
    """What a run is asked to do.

    `named` are the backends named on the command line: they must be there. `passes` is how many
    undisturbed passes are wanted; None goes on until every interval is within `target` (half its
    width, relative). No pass begins that would not end within `max_minutes`, but for the `fewest_passes`.
    `verified` is whether the data are known to be those of that name, which nobody can know before they are read.
    """

    cases: tuple[Case, ...]
    named: frozenset[str]
    data: str
    data_dir: Path | None
    interpreters: Mapping[str, Path]
    passes: int | None
    target: float
    max_minutes: float
    seed: int
    plan: Plan
    command: str
    fewest_passes: int = 2
    data_sha256: str = ""
    verified: bool = True

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "named": sorted(self.named),
            "data_dir": self.data_dir and str(self.data_dir.absolute()),
            "interpreters": {name: str(path) for name, path in self.interpreters.items()},
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Request:
        """The inverse of `as_json`. Raises KeyError or TypeError for what is no request."""
        return cls(
            **{
                **fields,
                "cases": tuple(Case(**case) for case in fields["cases"]),
                "named": frozenset(fields["named"]),
                "data_dir": fields["data_dir"] and Path(fields["data_dir"]),
                "interpreters": {name: Path(path) for name, path in fields["interpreters"].items()},
                "plan": Plan(**fields["plan"]),
            }
        )


@dataclass
class Run:
    """What a run has brought home so far, and the folder that it goes to; `live` are the cases that still take part."""

    folder: Path
    request: Request
    registry: Mapping[str, Entry]
    machine: Machine
    utc: str
    live: list[Case] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    equivalence: list[Equivalence] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)

    @property
    def data(self) -> str:
        """What the data count as."""
        return data.called(self.request.data, self.request.verified)

    def add(self, outcome: Outcome, number: int) -> None:
        """Take in what one process brought home."""
        case, record = outcome.case, outcome.record
        self.processes.append(process_row(outcome, number))
        self.rounds += outcome.rounds
        if "proof" not in record:
            return
        proof, cell = record["proof"], (case.backend, case.mode, case.variant)
        if (*cell, case.device, case.precision, case.batch_size) not in {
            (row.backend, row.mode, row.variant, row.device, row.precision, row.batch_size) for row in self.equivalence
        }:
            self.equivalence += equivalence_rows(case, record["version"], proof["comparisons"])
        if cell not in {(row.backend, row.mode, row.variant) for row in self.shapes}:
            self.shapes += shape_rows(case, self.registry[case.backend], proof["shapes"], proof["parameters"])

    def measured(self, case: Case) -> bool:
        """Whether a pass before has brought something home of it."""
        return any((process.case, process.status) == (case.id, "ok") for process in self.processes)

    def write(self) -> list[Throughput]:
        """Every file of the run folder, as things stand. `processes.csv`, last of the raw ones, makes a pass count."""
        rows = [self.throughput(case) for case in self.request.cases if any(p.case == case.id for p in self.processes)]
        flagged = [
            replace(p, flag="disturbed") if p.status == "ok" and p.pass_number in self.disturbed_passes() else p
            for p in self.processes
        ]
        results.write_rows(self.folder, Round, self.rounds)
        results.write_rows(self.folder, Equivalence, self.equivalence)
        results.write_rows(self.folder, Shape, self.shapes)
        results.write_rows(self.folder, Process, flagged)
        results.write_rows(self.folder, Throughput, rows)
        results.write_rows(self.folder, Comparison, self.comparisons())
        if any(len(own) >= FEWEST_POINTS for own in self.families().values()):
            results.write_rows(self.folder, Overhead, self.overheads())
        counted = {case.id: self.counted_rounds(case) for case in self.request.cases}
        kept = benchmark_json(self.request.cases, counted, self.machine, self.utc)
        results.write_json(self.folder / BENCHMARK_FILE, kept)
        return rows

    def passes(self) -> set[int]:
        """The passes that every case which still takes part has completed."""
        done = [
            {process.pass_number for process in self.processes if (process.case, process.status) == (case.id, "ok")}
            for case in self.live
        ]
        return set.intersection(*done) if done else {one.pass_number for one in self.processes if one.pass_number}

    def control_rounds(self, case: Case) -> list[Round]:
        name = control_of(case).id
        return [one for one in self.rounds if one.case == name]

    def disturbed_passes(self) -> set[int]:
        """Passes in which the machine was seldom calm, by the first case's control."""
        return disturbed_passes(self.control_rounds(self.request.cases[0]))

    def usable_rounds(self, case: Case) -> list[Round]:
        """The case's rounds that count."""
        own = [one for one in self.rounds if one.case == case.id]
        return usable_rounds(own, self.control_rounds(self.request.cases[0]))

    def counted_rounds(self, case: Case) -> list[Round]:
        """The rounds that a case's row is made from: none where one of its processes ended badly."""
        return self.usable_rounds(case) if self.throughput_status(case) == "ok" else []

    def noise(self, case: Case, rounds: Sequence[Round]) -> str:
        """Why a case's figures support no verdict; empty where they do."""
        disturbed, passes = self.disturbed_passes(), {one.pass_number for one in rounds}
        if (stopped := throttled_share(rounds, case.threads)) > MOST_WAITED:
            return quota.stopped_it(stopped)
        if disturbed & passes:
            return (
                f"the machine was disturbed in {len(disturbed & passes)} of {len(passes)} passes: the control ran "
                f"{CALM_BOUND - 1:.0%} slower than its calm level in most sweeps; run again when it is quiet"
            )
        if (waited := waited_share(rounds, case.threads)) > MOST_WAITED:
            return f"others had its CPU for {waited:.0%} of the time"
        if abs(changed := drift(in_sweeps(rounds, calm_sweeps(self.control_rounds(case))))) > MOST_DRIFT:
            return f"its last rounds took {changed:+.0%} of the time of its first, the machine being calm"
        return ""

    def throughput(self, case: Case) -> Throughput:
        """One case's row, from all of its processes and its usable rounds."""
        processes = [process for process in self.processes if process.case == case.id]
        ended_badly = [process for process in processes if process.status != "ok"]
        last = ended_badly[-1] if ended_badly else processes[-1]
        rounds = self.counted_rounds(case)
        control = [] if ended_badly else self.control_rounds(case)
        calm = calm_sweeps(control)
        noise = self.noise(case, rounds) if rounds else ""
        step = step_seconds(rounds, calm) if rounds else None
        passes = {one.pass_number for one in rounds}
        beside = [one for one in control if one.pass_number in passes]
        gflops = FLOPS / step_seconds(beside, calm).value / 1e9 if beside else None
        steps = sum(one.steps for one in rounds)
        entry = self.registry[case.backend]
        share = peak_share(case, step, gflops)
        status, reason = ("noisy", noise) if last.status == "ok" and noise else (last.status, last.reason)
        if share is not None and share > 1:
            held_up = control_held_up(beside, case.threads, share)
            status = "noisy" if held_up else "failed"
            reason = f"it would train at {share:.1f} times the matrix-product peak measured beside it"
            reason += f", but {held_up}" if held_up else ": not all was computed"
        return Throughput(
            run_id=self.folder.name,
            utc=self.utc,
            **{**asdict(self.machine), **rates(step, case.batch_size)},
            python=last.python,
            backend=case.backend,
            version=last.version,
            lane=entry.mode(case.mode).lane,
            mode=case.mode,
            variant=case.variant,
            device=case.device,
            device_observed=last.device_observed,
            precision=case.precision,
            batch_size=case.batch_size,
            threads=case.threads,
            data=self.data,
            passes=len(passes),
            rounds=len(rounds),
            import_s=_median(process.import_s for process in processes),
            build_s=_median(process.build_s for process in processes),
            first_step_s=next((p.first_step_s for p in processes if p.first_step_s is not None), None),
            peak_rss_mb=mebibytes(process.peak_rss_bytes for process in processes),
            peak_device_mb=mebibytes(process.peak_device_bytes for process in processes),
            effective_cores=sum(r.cpu_seconds for r in rounds) / sum(r.seconds for r in rounds) if rounds else None,
            page_faults_per_step=sum(r.page_faults for r in rounds) / steps if steps else None,
            gemm_peak_share=share,
            stage_error=largest(process.stage_error for process in processes),
            weight_error=largest(process.weight_error for process in processes),
            weights_sha256=last.weights_sha256,
            flags=last.switches,
            status=status,
            reason=reason,
            feed=case.feed,
            calm_share=sum((r.pass_number, r.sweep) in calm for r in rounds) / len(rounds) if rounds else None,
            waited_share=waited_share(rounds, case.threads) if rounds else None,
            drift=drift(rounds) if rounds else None,
            control_gflops=gflops,
            allocator=self.request.plan.allocator,
            cpus=" ".join(map(str, shared_cpus(case.threads))),
        )

    def comparisons(self) -> list[Comparison]:
        """Every case beside every later one of its kind that could be timed."""
        timed = [case for case in self.request.cases if self.throughput_status(case) in ("ok", "noisy")]
        rows = []
        for case, other in itertools.combinations(timed, 2):
            if replace(case, backend="", mode="") != replace(other, backend="", mode=""):
                continue
            calm = calm_sweeps(self.control_rounds(case))
            interval, total = ratio(self.usable_rounds(case), self.usable_rounds(other), calm)
            noisy = any(self.noise(one, self.usable_rounds(one)) for one in (case, other))
            rows.append(
                Comparison(
                    case=case.id,
                    other=other.id,
                    ratio=interval.value,
                    ratio_low=interval.low,
                    ratio_high=interval.high,
                    total_ratio=total,
                    passes=len({r.pass_number for r in self.usable_rounds(case)}),
                    verdict="noisy" if noisy else verdict(interval),
                )
            )
        return rows

    def families(self) -> dict[Case, list[Case]]:
        """Cases that differ in their batch size only."""
        found: dict[Case, list[Case]] = {}
        for case in self.request.cases:
            found.setdefault(replace(case, batch_size=0), []).append(case)
        return found

    def overheads(self) -> list[Overhead]:
        """What a step costs whatever its size, and what an image costs, for every family with enough sizes."""
        rows = []
        for own in self.families().values():
            timed = [case for case in own if self.throughput_status(case) == "ok"]
            calm = calm_sweeps(self.control_rounds(own[0]))
            line = line_through({case.batch_size: self.usable_rounds(case) for case in timed}, calm)
            if line is None:
                continue
            case = timed[0]
            each = rates(line.each, 1)
            rows.append(
                Overhead(
                    backend=case.backend,
                    version=next(p.version for p in self.processes if p.case == case.id),
                    lane=self.registry[case.backend].mode(case.mode).lane,
                    mode=case.mode,
                    variant=case.variant,
                    device=case.device,
                    precision=case.precision,
                    threads=case.threads,
                    feed=case.feed,
                    batch_sizes=" ".join(str(one.batch_size) for one in timed),
                    passes=line.passes,
                    overhead_us=line.overhead.value * 1e6,
                    overhead_us_low=line.overhead.low and line.overhead.low * 1e6,
                    overhead_us_high=line.overhead.high and line.overhead.high * 1e6,
                    images_per_s_limit=1 / line.each.value,
                    images_per_s_limit_low=each["images_per_s_low"],
                    images_per_s_limit_high=each["images_per_s_high"],
                    worst_misfit=line.misfit,
                )
            )
        return rows

    def disturbance(self, number: int) -> str:
        """What is known of why the machine was seldom calm in a pass."""
        case = control_of(self.request.cases[0])
        own = [one for one in self.control_rounds(case) if one.pass_number == number]
        if (stopped := throttled_share(own, case.threads)) > MOST_WAITED:
            return f"the {quota.named(quota.smallest())} stopped the control for {stopped:.0%} of the time"
        return "the machine was seldom calm"

    def time_left(self, began: float, pass_began: float, longest: float) -> str:
        """How long it will take, by the longest pass so far; at first, nothing."""
        fewest = min(self.request.fewest_passes, self.request.passes or FEWEST_PASSES)
        limits = Limits(fewest, self.request.passes, self.request.max_minutes)
        return limits.left(len(self.passes()), began, pass_began, longest)

    def throughput_status(self, case: Case) -> str:
        statuses = [process.status for process in self.processes if process.case == case.id]
        return next((status for status in statuses if status != "ok"), "ok" if statuses else "")

    def finished(self, elapsed_seconds: float, pass_seconds: float) -> bool:
        """Whether enough has been measured, or another pass would take too long."""
        done = len(self.passes())
        calm = done - len(self.disturbed_passes() & self.passes())
        wanted = self.request.passes or FEWEST_PASSES
        if calm >= wanted and (self.request.passes or self.widest() <= self.request.target):
            return True
        if self.request.passes and done >= 2 * wanted:
            return True  # every pass was measured again once
        return (
            done >= min(self.request.fewest_passes, wanted)
            and elapsed_seconds + pass_seconds > 60 * self.request.max_minutes
        )

    def cut_short(self) -> bool:
        """Whether the limit of minutes has ended it before as many undisturbed passes as were asked for."""
        done, wanted = self.passes(), self.request.passes or 0
        return bool(self.live) and len(done - self.disturbed_passes()) < wanted and len(done) < 2 * wanted

    def widest(self) -> float:
        """The widest interval of any case that could be timed: half its width, relative."""
        widths = []
        for case in self.request.cases:
            rounds = self.usable_rounds(case)
            if rounds and self.throughput_status(case) == "ok":
                widths.append(step_seconds(rounds, calm_sweeps(self.control_rounds(case))).half_width)
        return max(widths, default=0.0)


def peak_share(case: Case, step: Interval | None, gflops: float | None) -> float | None:
    """The step's multiply-adds per second over those of the matrix product beside it; None on a GPU."""
    if step is None or gflops is None or case.device != "cpu" or control_of(case).precision != case.precision:
        return None
    return 2 * step_multiply_adds(VARIANTS[case.variant]) * case.batch_size / step.value / (gflops * 1e9)


def control_held_up(control: Sequence[Round], threads: int, share: float) -> str:
    """What kept a control so far below its peak that a case reached that share of it; empty where nothing did."""
    stopped, waited = throttled_share(control, threads), waited_share(control, threads)
    if share * (1 - stopped - waited) > 1:
        return ""
    if stopped > waited:
        limit = quota.named(quota.smallest())
        return f"the {limit} stopped that for {stopped:.0%} of the time; {quota.WAY_OUT}"
    return f"others had the CPU of that for {waited:.0%} of the time; run again when the machine is quiet"


def start(request: Request, results_folder: Path, registry: Mapping[str, Entry]) -> Run:
    """A new run folder that says what was asked for. Raises ResultsError before anything is measured."""
    now = datetime.now(timezone.utc)
    folder = results.make_folder(results_folder, f"{now:%Y%m%dT%H%M%S}-{request.seed:08x}")
    machine = Machine.here(SOURCE_ROOT)
    run = Run(folder, request, registry, machine, now.isoformat(timespec="seconds"))
    write_request(run)
    results.write_json(folder / "machine.json", {**machine.details(), "command": request.command, "seed": request.seed})
    return run


def write_request(run: Run) -> None:
    asked = {"utc": run.utc, "code": fingerprint(SOURCE_ROOT), "request": run.request.as_json()}
    results.write_json(run.folder / REQUEST_FILE, asked)


def refuse_other_code(path: Path, begun_with: str | None) -> None:
    """Raise ResultsError where a run was begun with other sources than stand here: they would share its rows."""
    if begun_with not in (None, fingerprint(SOURCE_ROOT)):
        raise results.ResultsError(
            f"{path}: was begun with other sources in backends or bench than stand in {SOURCE_ROOT}: go on where "
            "those are, or start a new run"
        )


def recorded_machine(folder: Path) -> Machine:
    """The machine and the commit that a run was begun on; those of now where its folder does not say."""
    here = Machine.here(SOURCE_ROOT)
    try:
        told = results.read_json(folder / "machine.json")
        return replace(here, **{one.name: str(told[one.name]) for one in fields(Machine)})
    except (OSError, ValueError, KeyError, TypeError):
        return here


def doubt(run: Run) -> None:
    """The run counts its data as unverified from now on, whatever is read when it is resumed."""
    run.request = replace(run.request, verified=False)
    write_request(run)


def resume(folder: Path, known: Callable[[dict[str, Path]], Mapping[str, Entry]]) -> Run:
    """A run as its folder tells it, less what did not complete: failed processes are tried again.

    `known` makes the registry from the interpreters that the run was given. Raises ResultsError where
    the folder is none of a run.
    """
    path = folder / REQUEST_FILE
    try:
        told = results.read_json(path)
        request, utc = Request.from_json(told["request"]), str(told["utc"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise results.ResultsError(f"{path}: tells of no run that could be resumed ({error})") from error
    refuse_other_code(path, told.get("code"))
    machine, here = recorded_machine(folder), Machine.here(SOURCE_ROOT)
    if machine.cpu != here.cpu:
        raise results.ResultsError(f"{path}: was begun on another processor, {machine.cpu}; this is {here.cpu}")
    registry = known(dict(request.interpreters))
    refuse_impossible(path, request, registry)
    run = Run(folder, request, registry, machine, utc)
    processes = results.read_rows_if_any(folder, Process)
    rounds = results.read_rows_if_any(folder, Round)
    run.equivalence = results.read_rows_if_any(folder, Equivalence)
    run.shapes = results.read_rows_if_any(folder, Shape)
    run.processes = [process for process in processes if process.status == "ok"]
    counted = {(process.case, process.pass_number) for process in run.processes}
    run.rounds = [one for one in rounds if (one.case, one.pass_number) in counted]
    return run


def refuse_impossible(path: Path, request: Request, registry: Mapping[str, Entry]) -> None:
    """Raise ResultsError where a request, which may have been edited, asks for what the command line would refuse."""
    try:
        for case in request.cases:
            names = (case.backend,), (case.mode,), (case.variant,), (case.device,), (case.precision,)
            expand(Selection(*names, (case.batch_size,), (case.threads,)), registry)
        if not (request.passes is None or (isinstance(request.passes, int) and request.passes > 0)):
            raise UsageError(f"passes {request.passes!r} are no number of at least 1")
    except (UsageError, TypeError, AttributeError) as error:
        raise results.ResultsError(f"{path}: asks for what cannot be: {error}") from error


def carry_out(run: Run, folders: Mapping[str, Path], progress: Callable[[str], None]) -> list[Throughput]:
    """Measure until enough is measured; the rows. Interrupted, the passes that are complete are on the disk."""
    request, began = run.request, time.monotonic()
    results.remove_leftovers(run.folder)
    interpreters = look_for_environments(run)
    run.write()
    run.live = list(interpreters)
    first = max((process.pass_number for process in run.processes), default=0) + 1
    draw = random.Random(f"{request.seed} {first}")
    conductor = Conductor(interpreters, request.data, folders, request.plan, draw)
    longest = 0.0
    names = names_of(request.cases)
    for number in itertools.count(first):
        if not run.live or run.finished(time.monotonic() - began, longest):
            break
        pass_began = time.monotonic()
        left = functools.partial(run.time_left, began, pass_began, longest)
        pass_now = pass_of(number, request.passes or FEWEST_PASSES, request.passes)
        conductor.progress = told_in(progress, pass_now, left)
        conductor.progress("")
        for outcome in conductor.run_pass(run.live, number):
            if outcome.flag not in (LEFT_OUT, UNTRIED) or not run.measured(outcome.case):
                run.add(outcome, number)
            elif outcome.flag == UNTRIED:
                progress(f"{names[outcome.case.id]} keeps the passes that it has: {outcome.reason}")
            if outcome.status != "ok" and outcome.case in run.live:
                run.live.remove(outcome.case)
        run.write()
        if number in run.disturbed_passes():
            progress(f"pass {number} was disturbed: {run.disturbance(number)}; it is measured again")
        longest = max(longest, time.monotonic() - pass_began)
    return run.write()


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


@contextmanager
def datasets(
    cases: Collection[Case], name: str, data_dir: Path | None, bars: Callable[[str], Any] | None = None
) -> Iterator[tuple[dict[str, Path], bool]]:
    """The data of every variant, as arrays that workers map: one folder per variant; and whether they are verified.

    `bars` makes progress bars for downloads, as `data.load` wants them. Raises DataError.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-bench-data-") as scratch:
        folders, verified = {}, True
        for variant in {case.variant for case in cases}:
            dataset = data.load(name, VARIANTS[variant].input_size, "train", data_dir, bars)
            verified = verified and dataset.verified
            folders[variant] = Path(scratch) / variant
            folders[variant].mkdir()
            try:
                np.save(folders[variant] / "images.npy", dataset.images[:MOST_IMAGES])
                np.save(folders[variant] / "labels.npy", dataset.labels[:MOST_IMAGES])
            except OSError as error:
                raise data.DataError(
                    f"{scratch}: cannot hold the data for the workers ({error}); set TMPDIR"
                ) from error
        yield folders, verified


def process_row(outcome: Outcome, number: int) -> Process:
    """One outcome as a row: the record's fields by their names, empty where the process did not get that far."""
    own = {one.name for one in fields(Process)}
    record = {name: value for name, value in outcome.record.items() if name in own and name != "switches"}
    empty = {one.name: None if "None" in str(one.type) else "" for one in fields(Process)}
    switches = one_line(outcome.record.get("switches", {}))
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
    missing = [process for process in run.processes if process.status != "ok" and process.flag != LEFT_OUT]
    asked_for = {case.id for case in run.request.cases if case.backend in run.request.named}
    if any(process.status == "failed" or process.case in asked_for for process in missing):
        return 4
    return 0


def _median(values: Any) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def one_line(switches: Mapping[str, str]) -> str:
    """A framework's switches as `name=value name=value`."""
    return " ".join(f"{name}={value}" for name, value in switches.items())


def largest(values: Any) -> Any:
    return max((value for value in values if value is not None), default=None)


def mebibytes(values: Any) -> float | None:
    """The largest of those numbers of bytes that are there, in MiB."""
    most = largest(values)
    return None if most is None else most / MEBIBYTE
