"""A training run: several cases and seeds, one after the other, into a run folder, `lenet-bench train`.

Each training is a process of its own (`training.py`) that keeps its checkpoints in the run folder. All
tables are made from those, so that a run that was killed at any moment can be resumed.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from backends import Entry
from backends.lenet import VARIANTS, parameters
from bench import checkpoints, data, environments, ground, quota, results, turns
from bench.agreement import Agreement, agreement, worst
from bench.cases import Case, UsageError, impossible
from bench.checkpoints import Checkpoint
from bench.conductor import kill_group, last_words, shared_cpus
from bench.lesson import has_kinks
from bench.machine import Machine
from bench.results import Accuracy, Curve, Loss, printable
from bench.run import REQUEST_FILE, mebibytes, one_line, recorded_machine, refuse_other_code
from bench.training import LAST, Course, Images, normalised
from bench.tree import SOURCE_ROOT, fingerprint, lay_out

FIRST, SECOND = 0.985, 0.990

Tell = Callable[[Course, dict[str, Any]], None]


@dataclass(frozen=True)
class Request:
    """What a training run is asked to do; `verified` is whether its data are known to be those of their name."""

    courses: tuple[Course, ...]
    named: frozenset[str]
    data_dir: Path | None
    interpreters: Mapping[str, Path]
    deadline_seconds: float
    command: str
    verified: bool = True
    data_sha256: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "courses": [asdict(course) for course in self.courses],
            "named": sorted(self.named),
            "data_dir": self.data_dir and str(self.data_dir.absolute()),
            "interpreters": {name: str(path) for name, path in self.interpreters.items()},
            "deadline_seconds": self.deadline_seconds,
            "command": self.command,
            "verified": self.verified,
            "data_sha256": self.data_sha256,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Request:
        """The inverse of `as_json`. Raises KeyError or TypeError for what is no request."""
        return cls(
            **{
                **fields,
                "courses": tuple(Course.from_json(one) for one in fields["courses"]),
                "named": frozenset(fields["named"]),
                "data_dir": fields["data_dir"] and Path(fields["data_dir"]),
                "interpreters": {name: Path(path) for name, path in fields["interpreters"].items()},
            }
        )


@dataclass
class Ending:
    """How a training ended: `status` is ok, unavailable or failed; `said` is what its process said last."""

    status: str
    reason: str = ""
    said: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainingRun:
    """A run folder, what it was asked for, and how its trainings ended, by the id of their course."""

    folder: Path
    request: Request
    registry: Mapping[str, Entry]
    machine: Machine
    utc: str
    endings: dict[str, Ending] = field(default_factory=dict)

    def place(self, course: Course) -> Path:
        """The folder of a training's checkpoints."""
        return self.folder / "weights" / course.id

    def checkpoint(self, course: Course) -> Checkpoint | None:
        """How far a training has come. Raises CheckpointError for a file that is damaged, or of another training."""
        path = self.place(course) / LAST
        if not path.exists():
            return None
        try:
            found = checkpoints.load(path)
        except checkpoints.CheckpointError as error:
            raise checkpoints.CheckpointError(f"{error}; delete it to train that one anew") from error
        checkpoints.refuse_another(path, found, course.about())
        return found

    def write(self) -> list[Accuracy]:
        """Every table of the run folder, from the checkpoints as they are now."""
        found = {course: self.checkpoint(course) for course in self.request.courses}
        curves = [
            Curve(case=course.case.id, seed=course.seed, **row)
            for course, at in found.items()
            for row in (at.about["progress"]["curve"] if at else [])
        ]
        losses = [
            Loss(course.case.id, course.seed, step, float(loss))
            for course, at in found.items()
            for step, loss in enumerate(at.history["losses"] if at else [], start=1)
        ]
        rows = [self.accuracy(case, found) for case in dict.fromkeys(course.case for course in self.request.courses)]
        results.write_rows(self.folder, Curve, curves)
        results.write_rows(self.folder, Loss, losses)
        results.write_rows(self.folder, Accuracy, rows)
        return rows

    def accuracy(self, case: Case, found: Mapping[Course, Checkpoint | None]) -> Accuracy:
        """One case's row: medians over its seeds."""
        own = [course for course in self.request.courses if course.case == case]
        course, ends = own[0], [self.endings.get(one.id) for one in own]
        progresses = [at.about["progress"] if (at := found[one]) else {"curve": []} for one in own]
        curves = [progress["curve"] for progress in progresses]
        whole = [curve for one, curve in zip(own, curves) if complete(one, found[one])]
        begun = [curve[-1] for curve in curves if curve]
        bad = next((end for end in ends if end and end.status != "ok"), None)
        ran: dict[str, Any] = next((progress for progress in progresses if progress["curve"]), {})
        agreed = agreement_of(case, found)
        status = bad.status if bad else "ok" if all(complete(one, found[one]) for one in own) else "unfinished"
        return Accuracy(
            run_id=self.folder.name,
            utc=self.utc,
            **asdict(self.machine),
            backend=case.backend,
            version=ran.get("version", ""),
            lane=self.registry[case.backend].mode(case.mode).lane,
            mode=case.mode,
            variant=case.variant,
            device=case.device,
            precision=case.precision,
            batch_size=case.batch_size,
            threads=case.threads,
            data=data.called(course.data, self.request.verified),
            initialisation=course.initialisation,
            normalisation=course.normalisation,
            learning_rate=course.learning_rate,
            schedule=course.schedule,
            epochs=course.epochs,
            seeds=" ".join(str(one.seed) for one in own),
            parameters=sum(parameters(VARIANTS[case.variant]).values()),
            final_accuracy=median([curve[-1]["accuracy"] for curve in whole]),
            best_accuracy=median([max(row["accuracy"] for row in curve) for curve in whole]),
            seconds_to_985=median([seconds_to(FIRST, curve) for curve in curves]),
            seconds_to_990=median([seconds_to(SECOND, curve) for curve in curves]),
            train_seconds=median([curve[-1]["seconds"] for curve in whole]),
            images_per_s=median([row["steps"] * case.batch_size / row["seconds"] for row in begun]),
            peak_rss_mb=mebibytes(progress.get("peak_rss_bytes") for progress in progresses),
            losses_apart=agreed.batch if agreed else None,
            losses_tolerance=agreed.batch_tolerance if agreed else None,
            epoch_loss_apart=agreed.epoch if agreed else None,
            agreement="" if agreed is None else "agrees" if agreed.holds else "differs",
            flags=one_line(ran.get("switches", {})),
            status=status,
            reason=bad.reason if bad else "" if status == "ok" else f"go on with --resume {self.folder}",
        )


def complete(course: Course, at: Checkpoint | None) -> bool:
    return at is not None and at.about["progress"]["parts"] == course.epochs * course.parts


def median(values: Sequence[float | None]) -> float | None:
    """The median, where None is later than any number; None itself where it falls among those."""
    there = [np.inf if value is None else value for value in values]
    middle = float(np.median(there)) if there else np.inf
    return middle if np.isfinite(middle) else None


def seconds_to(accuracy: float, curve: Sequence[Mapping[str, float]]) -> float | None:
    """Seconds of training until the first look at which that share of the test images was right."""
    return next((row["seconds"] for row in curve if row["accuracy"] >= accuracy), None)


def agreement_of(case: Case, found: Mapping[Course, Checkpoint | None]) -> Agreement | None:
    """Whether a case has the same curve in its first epoch as all that train the same; the worst of its seeds."""

    def first_epoch(course: Course, at: Checkpoint) -> np.ndarray:
        progress = at.about["progress"]
        steps = progress["curve"][-1]["steps"] * course.parts // progress["parts"]
        return at.history["losses"][:steps]

    trained = {course: first_epoch(course, at) for course, at in found.items() if at is not None}
    same: dict[Course, list[np.ndarray]] = {}
    for course, losses in trained.items():
        same.setdefault(anonymous(course), []).append(losses)
    kinks = has_kinks(VARIANTS[case.variant])
    seeds = [
        agreement(losses, same[anonymous(course)], kinks, case.precision)
        for course, losses in trained.items()
        if course.case == case
    ]
    return worst([seed for seed in seeds if seed])


def anonymous(course: Course) -> Course:
    """The course without what may differ between two that train the same: backend, mode, device and threads."""
    return replace(course, case=replace(course.case, backend="", mode="", device="", threads=0))


def start(request: Request, results_folder: Path, registry: Mapping[str, Entry]) -> TrainingRun:
    """A new run folder that says what was asked for. Raises ResultsError before anything is trained."""
    now = datetime.now(timezone.utc)
    first = request.courses[0]
    folder = results.make_folder(results_folder, f"{now:%Y%m%dT%H%M%S}-train-{first.case.variant}-{first.seed}")
    machine = Machine.here(SOURCE_ROOT)
    run = TrainingRun(folder, request, registry, machine, now.isoformat(timespec="seconds"))
    write_request(run)
    results.write_json(folder / "machine.json", {**machine.details(), "command": request.command})
    return run


def write_request(run: TrainingRun) -> None:
    asked = {"utc": run.utc, "code": fingerprint(SOURCE_ROOT), "request": run.request.as_json()}
    results.write_json(run.folder / REQUEST_FILE, asked)


def doubt(run: TrainingRun) -> None:
    """The run counts its data as unverified from now on, whatever is read when it is resumed."""
    run.request = replace(run.request, verified=False)
    write_request(run)


def resume(folder: Path, known: Callable[[dict[str, Path]], Mapping[str, Entry]]) -> TrainingRun:
    """A run as its folder tells it. Raises ResultsError where the folder is none of a training run."""
    path = folder / REQUEST_FILE
    try:
        fields = results.read_json(path)
        request, utc = Request.from_json(fields["request"]), str(fields["utc"])
        registry = known(dict(request.interpreters))
        for course in request.courses:
            refuse_unknown(course, registry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise results.ResultsError(f"{path}: tells of no training that could be resumed ({error})") from error
    if not request.courses:
        raise results.ResultsError(f"{path}: tells of no training")
    refuse_other_code(path, fields.get("code"))
    return TrainingRun(folder, request, registry, recorded_machine(folder), utc)


def refuse_unknown(course: Course, registry: Mapping[str, Entry]) -> None:
    """Raise ValueError for a course of what there is not, or not any more."""
    case = course.case
    if case.backend not in registry or case.mode not in {mode.name for mode in registry[case.backend].modes}:
        raise ValueError(f"mode {case.mode} of {case.backend} is not known here")
    if case.variant not in VARIANTS:
        raise ValueError(f"variant {case.variant} is not known here")
    if min(case.batch_size, case.threads, course.epochs, course.parts) < 1:
        raise ValueError(f"{course.id} has a size below 1")


def carry_out(run: TrainingRun, folders: Mapping[tuple[str, str, str], Path], tell: Tell) -> list[Accuracy]:
    """Train every course, the first seed of all cases first; the rows. What is interrupted can be resumed.

    `folders` are those of `prepared`.
    """
    results.remove_leftovers(run.folder)
    for course in sorted(run.request.courses, key=lambda course: course.seed):
        if complete(course, run.checkpoint(course)):
            continue
        entry = run.registry[course.case.backend]
        found = environments.find(entry, course.case.device, run.request.interpreters)
        if reason := impossible(course.case, entry) or found.reason:
            run.endings[course.id] = Ending("unavailable", reason)
            continue
        run.place(course).mkdir(parents=True, exist_ok=True)
        order = {
            "course": asdict(course),
            "data": str(folders[key(course)]),
            "folder": str(run.place(course).absolute()),
        }
        listen = functools.partial(tell, course)
        patience = run.request.deadline_seconds
        run.endings[course.id] = converse("train", found.python, course.case, order, patience, listen)
        run.write()
    return run.write()


def key(course: Course) -> tuple[str, str, str]:
    """What decides which images a course sees."""
    return course.data, course.case.variant, course.normalisation


@contextmanager
def prepared(
    courses: Sequence[Course], data_dir: Path | None, bars: Callable[[str], Any] | None = None
) -> Iterator[tuple[dict[tuple[str, str, str], Path], bool]]:
    """The images of every course as arrays that workers map, and whether all are verified.

    Raises DataError, or UsageError where they are too few.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-bench-data-") as scratch:
        folders, verified = {}, True
        for name, variant, normalisation in dict.fromkeys(map(key, courses)):
            folder = folders[name, variant, normalisation] = Path(scratch) / f"{name}-{variant}-{normalisation}"
            folder.mkdir()
            images = load_images(name, variant, normalisation, data_dir, bars)
            verified = verified and images.verified
            for course in courses:
                if key(course) == (name, variant, normalisation):
                    refuse_too_few(course, len(images.labels))
            try:
                images.write(folder)
            except OSError as error:
                raise data.DataError(f"{scratch}: cannot hold the data ({error}); set TMPDIR") from error
        yield folders, verified


def refuse_too_few(course: Course, count: int) -> None:
    """Raise UsageError where the images of an epoch make no step, or not one for every look."""
    steps = count // course.case.batch_size
    if not steps:
        raise UsageError(f"a batch of {course.case.batch_size} is more than the {count} images of {course.data}")
    if course.parts > steps:
        raise UsageError(f"{course.parts} looks are more than the {steps} steps of an epoch; lower --looks or --batch")


def load_images(
    name: str, variant: str, normalisation: str, data_dir: Path | None, bars: Callable[[str], Any] | None = None
) -> Images:
    """Both splits of a data set at a variant's size. Raises DataError."""
    size = VARIANTS[variant].input_size
    seen, unseen = (data.load(name, size, split, data_dir, bars) for split in ("train", "test"))
    return Images(
        normalised(seen.images, normalisation, seen.images),
        seen.labels,
        normalised(unseen.images, normalisation, seen.images),
        unseen.labels,
        seen.verified and unseen.verified,
    )


def converse(
    verb: str,
    python: Path,
    case: Case,
    order: dict[str, Any],
    patience: float,
    tell: Callable[[dict[str, Any]], None] = lambda message: None,
) -> Ending:
    """Run one process of `training.py` and listen to it. It ends with this one, or when it is silent for too long."""
    with tempfile.TemporaryDirectory(prefix="lenet-bench-") as scratch:
        path, log = Path(scratch) / "order.json", Path(scratch) / "log.txt"
        path.write_text(json.dumps({**order, "cpus": shared_cpus(case.threads)}), encoding="utf-8")
        chosen = {**ground.variables(case.threads), turns.PARENT_VARIABLE: str(os.getpid()), "TMPDIR": scratch}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), "-m", "bench.training", verb, str(path)],
                cwd=scratch,
                env=ground.environment(chosen, str(lay_out(Path(scratch) / "tree"))),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=sys.platform != "win32",
            )
        lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=pass_on, args=(process.stdout, lines), daemon=True).start()
        try:
            while True:
                throttled = quota.throttled_seconds()
                try:
                    line = lines.get(timeout=patience)
                except queue.Empty:
                    silent = f"silent for {patience:.0f} s{quota.stopped_since(throttled, patience)}"
                    return Ending("failed", printable(f"{silent}; {last_words(log)}"))
                if not line:
                    code = process.wait()
                    return Ending("failed", printable(f"it ended with exit status {code}; {last_words(log)}"))
                try:
                    message = json.loads(line)
                except ValueError:
                    return Ending("failed", printable(f"it said {line[:80]!r}; {last_words(log)}"))
                if message["says"] == "ended":
                    return Ending("ok", said=message)
                if message["says"] == "failed":
                    return Ending(message["status"], printable(message["reason"]))
                tell(message)
        finally:
            kill_group(process)


def pass_on(stream: Any, lines: queue.Queue[bytes]) -> None:
    """Every line of a process's output into the queue, and an empty one at its end."""
    for line in stream:
        lines.put(line)
    lines.put(b"")


def exit_code(run: TrainingRun, rows: Sequence[Accuracy]) -> int:
    """0 all trained alike, 1 where losses differ, 4 where a training failed or a backend that was named is missing."""
    if any(row.agreement == "differs" for row in rows):
        return 1
    missing = [row for row in rows if row.status != "ok"]
    return 4 if any(row.status == "failed" or row.backend in run.request.named for row in missing) else 0
