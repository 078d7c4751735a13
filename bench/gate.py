"""The gate: base and head side by side on this machine, in pairs of fresh processes that take turns.

The first look goes on until each case could have shown a slowdown of 5 %, or the time is spent. What
is suspected then is measured again with fresh pairs, and is red only if it is suspected again.
"""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends import Entry
from bench import data, environments, ground, installing, pins, results, revision
from bench.cases import Case, Selection, UsageError, impossible
from bench.conductor import Conductor, Outcome, Plan
from bench.control import control_of, controls_for, is_control
from bench.estimates import Look, calm_sweeps, look_at_pairs, step_seconds
from bench.machine import Machine
from bench.progress import Limits, names_of, pass_of, told_in
from bench.results import Process, Round, Verdict
from bench.run import process_row
from bench.tree import SOURCE_ROOT, is_checkout
from bench.verdicts import FAILED, MISMATCH, MISSING, judge, look_fields

BASE, HEAD = "base", "head"
FEWEST_PASSES, MOST_PASSES = 5, 12
QUICK_PASSES = 3
THE_SAME = "base and head are the same code with the same packages: what differs here is chance"
# Twice the processes of a run per pass, so rounds are fewer; more passes tell more than more rounds.
PLAN = Plan(sweeps=50, case_seconds=2.0)

# Asks a tree for the modes of each backend, their lanes and slowness, and what its networks are, however written down.
CONTENTS = """
import json, backends
from backends.interface import LEARNING_RATE
from backends.lenet import VARIANTS, initial_weights, stage_shapes, weights_sha256
modes = {e.name: {m.name: [m.lane, getattr(m, "slow", False)] for m in e.modes} for e in backends.registry().values()}
networks = {
    name: [stage_shapes(v), v.activation, v.pooling, weights_sha256(initial_weights(v)),
           getattr(v, "learning_rate", LEARNING_RATE), getattr(v, "rubbish", None)]
    for name, v in VARIANTS.items()
}
print(json.dumps({"modes": modes, "networks": networks}))
"""


@dataclass(frozen=True)
class Side:
    """Base or head: what it is called, the tree its workers import, and interpreters named for it."""

    label: str
    source: Path
    interpreters: Mapping[str, Path]


@dataclass(frozen=True)
class Asked:
    """What the command line names for a side: interpreters, and pins to replace."""

    interpreters: Mapping[str, Path]
    pins: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """What a gate was asked for. `passes` fixes their number; None goes on until every case is resolved.

    `verified` is whether the data are known to be those of that name.
    """

    cases: tuple[Case, ...]
    selection: Selection
    data: str
    seed: int
    passes: int | None
    max_minutes: float
    plan: Plan
    command: str
    verified: bool = True


@dataclass
class Gate:
    """What a gate has brought home so far, and the folder it goes to.

    `contents` are each side's modes and networks; `settled` are verdicts that no timing can change, with their reason;
    `gone` are cases the head no longer has.
    """

    folder: Path
    terms: Terms
    registry: Mapping[str, Entry]
    base: Side
    head: Side
    utc: str
    contents: Mapping[str, Any] = field(default_factory=dict)
    gone: list[Case] = field(default_factory=list)
    settled: dict[Case, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    looks: list[dict[Case, Look]] = field(default_factory=lambda: [{}, {}])
    passes: list[set[int]] = field(default_factory=lambda: [set(), set()])

    def write(self) -> None:
        """The raw files, as things stand."""
        results.write_rows(self.folder, Round, self.rounds)
        results.write_rows(self.folder, Process, self.processes)

    def add(self, case: Case, outcome: Outcome, number: int) -> None:
        """Take in one process; a case of which one side cannot be measured is missing, or another network."""
        self.processes.append(process_row(outcome, number))
        self.rounds += outcome.rounds
        if outcome.status == "ok":
            return
        reason = f"{outcome.case.copy}: {outcome.status}: {outcome.reason}"
        if is_control(case):
            self.notes.append(f"the control of pass {number} failed, so every sweep of it counts as calm: {reason}")
        elif outcome.flag == "mismatch" and outcome.case.copy == HEAD:
            self.settled[case] = (MISMATCH, reason)  # worse than anything about the base
        else:
            self.settled.setdefault(case, (FAILED if outcome.status == "failed" else MISSING, reason))

    def calm(self, case: Case) -> set[tuple[int, int]]:
        name = control_of(case).id
        return calm_sweeps([one for one in self.rounds if one.case == name])

    def look(self, case: Case, number: int) -> Look | None:
        """What the passes of the first look (0) or the second (1) say of a case."""
        head, base = (
            [r for r in self.rounds if r.case == replace(case, copy=copy).id and r.pass_number in self.passes[number]]
            for copy in (HEAD, BASE)
        )
        return look_at_pairs(head, base, self.calm(case))

    def verdict(self, case: Case) -> Verdict:
        """One case's row, from everything that was measured of it."""
        first, second = self.looks[0].get(case), self.looks[1].get(case)
        word, reason = self.settled.get(case) or judge(first, second)
        versions, steps, initial = {}, {}, {}
        for copy in (BASE, HEAD):
            name = replace(case, copy=copy).id
            own = [one for one in self.rounds if one.case == name]
            steps[copy] = step_seconds(own, self.calm(case)).value * 1e6 if own else None
            versions[copy] = next((p.version for p in self.processes if p.case == name and p.version), "")
            initial[copy] = {p.weights_sha256 for p in self.processes if p.case == name and p.weights_sha256}
        if case not in self.settled and initial[BASE] != initial[HEAD]:
            word, reason = MISMATCH, "base and head start from other weights: times do not compare"
        return Verdict(
            run_id=self.folder.name,
            utc=self.utc,
            case=case.id,
            base=self.base.label,
            head=self.head.label,
            base_version=versions[BASE],
            head_version=versions[HEAD],
            basis="turns",
            verdict=word,
            reason=reason,
            **look_fields(first, second),
            base_step_us=steps[BASE],
            head_step_us=steps[HEAD],
        )


def carry_out(gate: Gate, folders: Mapping[str, Path], progress: Callable[[str], None]) -> list[Verdict]:
    """Look once, look again at what is suspected; a verdict for every case."""
    interpreters = look_for_environments(gate)
    note_if_the_same(gate, interpreters)
    conductor = Conductor(
        interpreters,
        gate.terms.data,
        folders,
        gate.terms.plan,
        random.Random(gate.terms.seed),
        sources={one: gate.base.source if one.copy == BASE else gate.head.source for one in interpreters}
        | dict.fromkeys(controls_for(gate.terms.cases), gate.head.source),
    )
    cases = [case for case in gate.terms.cases if case not in gate.settled]
    measure(gate, conductor, cases, 0, progress)
    suspects = [case for case, look in gate.looks[0].items() if look.suspect and case not in gate.settled]
    if suspects:
        names = names_of(gate.terms.cases)
        progress(f"measured again with fresh processes: {', '.join(names[case.id] for case in suspects)}")
        measure(gate, conductor, suspects, 1, progress)
    return [gate.verdict(case) for case in (*gate.terms.cases, *gate.gone)]


def measure(
    gate: Gate, conductor: Conductor, cases: Sequence[Case], number: int, progress: Callable[[str], None]
) -> None:
    """Passes of the first look (0) or the second (1); a case that is resolved takes part no longer."""
    began, per_case = time.monotonic(), 0.0
    fewest, most = gate.terms.passes or FEWEST_PASSES, gate.terms.passes or MOST_PASSES
    live, done = list(cases), 0
    while live:
        done += 1
        pass_number = 1 + max((one.pass_number for one in gate.processes), default=0)
        gate.passes[number].add(pass_number)
        pass_began = time.monotonic()
        where = f"{'first' if number == 0 else 'second'} look: {pass_of(done, fewest, most)}"
        limits = Limits(fewest, most, gate.terms.max_minutes)
        left = functools.partial(limits.left, done - 1, began, pass_began, per_case * len(live))
        conductor.progress = told_in(progress, where, left)
        conductor.progress("")
        both = [replace(case, copy=copy) for case in live for copy in (BASE, HEAD)]
        for outcome in conductor.run_pass(both, pass_number):
            gate.add(replace(outcome.case, copy=""), outcome, pass_number)
        per_case = max(per_case, (time.monotonic() - pass_began) / len(live))
        gate.write()
        live = [case for case in live if case not in gate.settled]
        for case in live:
            look = gate.look(case, number)
            if look is not None:
                gate.looks[number][case] = look
        if done >= most:
            return
        if done >= fewest:
            live = [case for case in live if not resolved(gate.looks[number].get(case))]
            if time.monotonic() - began + per_case * len(live) > 60 * gate.terms.max_minutes:
                return


def resolved(look: Look | None) -> bool:
    return look is not None and (look.conclusive or look.suspect)


def look_for_environments(gate: Gate) -> dict[Case, Path]:
    """The interpreter of both copies of every case; a case that one side cannot run is missing."""
    interpreters = {}
    note_what_changed(gate, gate.contents[BASE], gate.contents[HEAD])
    for copy, side in ((BASE, gate.base), (HEAD, gate.head)):
        modes = gate.contents[copy]["modes"]
        found: dict[tuple[str, str], environments.Environment] = {}
        for case in gate.terms.cases:
            entry, place = gate.registry[case.backend], (case.backend, case.device)
            reason = impossible(case, entry)
            own = modes.get(case.backend, [case.mode] if case.backend in side.interpreters else [])
            if not reason and case.mode not in own:
                reason = f"there is no mode {case.mode} of {case.backend} at {side.label}"
            if not reason:
                if place not in found:
                    found[place] = environments.find(entry, case.device, side.interpreters)
                reason = found[place].reason
                interpreters[replace(case, copy=copy)] = found[place].python
            if reason:
                gate.add(case, Outcome(replace(case, copy=copy), "unavailable", reason), 0)
    return interpreters


def note_if_the_same(gate: Gate, interpreters: Mapping[Case, Path]) -> None:
    """A gate of a thing beside itself says so: it answers another question than most who ask for one have."""
    both = [[interpreters.get(replace(case, copy=copy)) for copy in (BASE, HEAD)] for case in gate.terms.cases]
    pairs = [(old, new) for old, new in both if old and new]
    same_code = backends_of(gate.base.source) == backends_of(gate.head.source)
    if pairs and same_code and all(same_packages(old, new) for old, new in pairs):
        gate.notes.append(THE_SAME)


def backends_of(source: Path) -> dict[str, bytes]:
    """What is measured of a tree: every file by its place, but for what Python compiled."""
    files = [path for path in (source / revision.MEASURED).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(source)): path.read_bytes() for path in files}


def same_packages(python: Path, other: Path) -> bool:
    """Whether two interpreters are one, or their environments were made of the same pins, in whatever order."""
    if python.parent.resolve() == other.parent.resolve() and python.resolve() == other.resolve():
        return True
    stamps = [one.parent.parent / installing.STAMP for one in (python, other)]
    if not all(stamp.is_file() for stamp in stamps):
        return False
    lines = [stamp.read_text(encoding="utf-8").splitlines() for stamp in stamps]
    old, new = ({line.strip() for line in one if line.strip() and not line.startswith("#")} for one in lines)
    return old == new


def note_what_changed(gate: Gate, base: dict[str, Any], head: dict[str, Any]) -> None:
    """Cases that the head no longer has are missing; a network that is another than at the base is a mismatch."""
    selection = gate.terms.selection
    for backend, modes in base["modes"].items():
        if selection.backends and backend not in selection.backends:
            continue
        now = head["modes"].get(backend, {})
        for mode, own in modes.items():
            if not measured(selection, mode, *own):
                continue
            if mode not in now:
                reason = f"there is no mode {mode} of {backend} at {gate.head.label} any more"
            elif not measured(selection, mode, *now[mode]):
                reason = f"{gate.head.label} puts it where it is not measured unasked: name it with --mode {mode}"
            else:
                continue
            case = Case(backend, mode, selection.variants[0], selection.devices[0], selection.precisions[0])
            case = replace(case, batch_size=selection.batch_sizes[0], threads=selection.threads[0])
            gate.gone.append(case)
            gate.settled[case] = (MISSING, reason)
    for case in gate.terms.cases:
        old, new = (side["networks"].get(case.variant) for side in (base, head))
        if old is not None and old != new:
            gate.settled[case] = (MISMATCH, f"{case.variant} was changed between base and head; times do not compare")


def measured(selection: Selection, mode: str, lane: str, slow: bool) -> bool:
    """Whether a gate that was asked for this measures such a mode."""
    chosen = mode in selection.modes if selection.modes else not slow
    return chosen and (not selection.lanes or lane in selection.lanes)


def contents_of(source: Path) -> dict[str, Any]:
    """The `modes` of each backend of a tree and its `networks`. Raises UsageError where it cannot be asked."""
    command = [sys.executable, "-c", CONTENTS]
    done = subprocess.run(command, env=ground.environment({}, str(source)), capture_output=True, cwd=source)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it printed nothing"]
        raise UsageError(f"the backends' table of contents at {source.name} cannot be read: {said[-1]}") from error
    return answer


@contextmanager
def sides(
    base: str | None,
    asked_of_base: Asked,
    asked_of_head: Asked,
    cases: Collection[Case],
    registry: Mapping[str, Entry],
    allow_dirty: bool,
    say: Callable[[str], None],
) -> Iterator[tuple[Side, Side]]:
    """Both trees, laid out in folders of their own, and their environments. Raises UsageError before measuring."""
    dirty = revision.changes(SOURCE_ROOT) if is_checkout() else []
    commit = None if base is None else revision.resolve(SOURCE_ROOT, base)
    if dirty and not allow_dirty:
        more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
        raise UsageError(
            f"{dirty[0]}{more} is not committed: nobody could repeat this gate; commit, or add --allow-dirty"
        )
    with TemporaryDirectory(prefix="lenet-bench-gate-") as scratch:
        # Names of one length: the environment's size moves the stack, and with it the figures.
        trees = [Path(scratch) / name for name in (BASE, HEAD)]
        revision.copy_working_tree(SOURCE_ROOT, trees[1])
        if commit is None:
            revision.copy_working_tree(SOURCE_ROOT, trees[0])
        else:
            revision.check_out(SOURCE_ROOT, commit, trees[0])
        stood = revision.at_start(SOURCE_ROOT)
        if revision.standing(SOURCE_ROOT) != stood:
            raise UsageError(f"{SOURCE_ROOT} has changed since this command began: start it again")
        interpreters = environments.ready(cases, registry, asked_of_head.interpreters, asked_of_head.pins, say)
        base_interpreters = environments.ready(
            cases, registry, asked_of_base.interpreters, asked_of_base.pins, say, "--base-with"
        )
        shared = [one for one in cases if one.backend not in base_interpreters]
        base_interpreters |= environments_of_base(trees[0], trees[1], environments.places(shared, registry), say)
        here = f"{stood.commit[:12]}{' with changes' if dirty else ''}" or "the working tree"
        other = "".join(f" {name}={path}" for name, path in base_interpreters.items())
        yield (
            Side(f"{commit[:12] if commit else here}{other}", trees[0], {**interpreters, **base_interpreters}),
            Side(here, trees[1], interpreters),
        )


def environments_of_base(
    base: Path, head: Path, places: Collection[tuple[Entry, str]], say: Callable[[str], None]
) -> dict[str, Path]:
    """Interpreters with what the base pins, where that is something else. Raises UsageError where one is not made."""
    old, new = revision.requirement_files(base), revision.requirement_files(head)
    own = {
        entry.name: pins.at_base(name, old[name])
        for entry, device in places
        if (name := entry.environment(device)) in old and old[name] != new.get(name)
    }
    reasons = environments.make([*own.values()], say)
    for backend, one in own.items():
        if reasons[one.name]:
            raise UsageError(
                f"the requirements of {backend} differ between base and head, and {reasons[one.name]}: "
                f"name an interpreter for the base with --base-python {backend}=PATH"
            )
    return {
        backend: installing.interpreter(installing.environments_folder() / one.name) for backend, one in own.items()
    }


def start(terms: Terms, results_folder: Path, registry: Mapping[str, Entry], base: Side, head: Side) -> Gate:
    """A new folder that says what was asked for. Raises UsageError or ResultsError before anything is measured."""
    now = datetime.now(timezone.utc)
    contents = {BASE: contents_of(base.source), HEAD: contents_of(head.source)}
    folder = results.make_folder(results_folder, f"{now:%Y%m%dT%H%M%S}-{terms.seed:08x}-gate")
    details = Machine.here(SOURCE_ROOT).details()
    asked = {"command": terms.command, "seed": terms.seed, "base": base.label, "head": head.label}
    asked["data"] = data.called(terms.data, terms.verified)
    results.write_json(folder / "machine.json", {**details, **asked})
    return Gate(folder, terms, registry, base, head, now.isoformat(timespec="seconds"), contents)
