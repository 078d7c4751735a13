"""Two run folders side by side: a verdict per case, and whether the networks are still the same.

The two did not take turns, so this sees less than a gate, and says how much. Times are compared only
where the machine, its settings and its speed (by the control) are the same; else each case is divided
by the control that took turns with it, and its verdict says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import Case
from bench.control import control_of
from bench.estimates import (
    by_case,
    calm_sweeps,
    look_at_runs,
    medians_by_pass,
    ratios_by_pass,
    step_seconds,
    totals_by_pass,
    usable_rounds,
)
from bench.results import (
    FILES,
    Equivalence,
    Process,
    ResultsError,
    Round,
    Shape,
    Throughput,
    Verdict,
    case_of,
    read_rows,
)
from bench.verdicts import FAILED, INCONCLUSIVE, MISMATCH, MISSING, judge, look_fields

# No round is shorter or longer, whatever a file says.
SHORTEST_SECONDS, LONGEST_SECONDS = 1e-6, 1e6
# The machine ran at the same speed in both runs where the control's levels are that close.
SAME_SPEED = 0.03
PROOF = f"{FILES[Shape]} and {FILES[Equivalence]}"
# Where one of these differs, times do not compare; the others are named.
SETTINGS = ("cpu", "gpu", "data", "allocator")
NAMED = ("host", "os", "python", "version", "flags")


@dataclass(frozen=True)
class RunFolder:
    """What a run left: its rows by case, and what it said of the machine."""

    path: Path
    rows: Mapping[str, Throughput]
    rounds: Mapping[str, list[Round]]
    processes: Sequence[Process]
    shapes: Sequence[Shape]
    equivalence: Sequence[Equivalence]

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Raises ResultsError naming the file that is missing, truncated or of another version."""
        if not path.is_dir():
            raise ResultsError(f"{path}: is no run folder")
        rows: dict[str, Throughput] = {}
        for row in read_rows(path, Throughput):
            if rows.setdefault(case_of(row).id, row) is not row:
                raise ResultsError(f"{path / FILES[Throughput]}: {case_of(row).id} is there twice")
        rounds = read_rows(path, Round)
        refuse_impossible(path / FILES[Round], rounds)
        return cls(
            path,
            rows,
            by_case(rounds),
            read_rows(path, Process),
            read_rows(path, Shape),
            read_rows(path, Equivalence),
        )

    def calm(self, case: Case) -> set[tuple[int, int]]:
        return calm_sweeps(self.control(case))

    def control(self, case: Case) -> list[Round]:
        return self.rounds.get(control_of(case).id, [])

    def proven(self, row: Throughput) -> bool:
        """Whether its shapes and its equivalence are there, whatever they say."""
        cell = (row.backend, row.mode, row.variant)
        return any((one.backend, one.mode, one.variant) == cell for one in self.shapes) and any(
            (one.backend, one.mode, one.variant, one.precision) == (*cell, row.precision) for one in self.equivalence
        )

    def initial_weights(self, name: str) -> set[str]:
        return {one.weights_sha256 for one in self.processes if one.case == name and one.weights_sha256}

    def measured(self, case: Case) -> list[Round]:
        """The rounds of passes that count, as in the run's own table."""
        return usable_rounds(self.rounds.get(case.id, []), self.control(case))


def refuse_impossible(path: Path, rounds: Sequence[Round]) -> None:
    """Raise ResultsError where a round has no steps, or took no time that a clock can tell."""
    for one in rounds:
        if one.steps < 1 or not SHORTEST_SECONDS <= one.seconds <= LONGEST_SECONDS:
            raise ResultsError(f"{path}: {one.case}: {one.steps} steps in {one.seconds} s cannot be")


def compare(base: RunFolder, head: RunFolder) -> tuple[list[Verdict], list[str]]:
    """A verdict per case and per network, and what a reader must know of the two runs."""
    notes = differences(base, head)
    verdicts = []
    for name in dict.fromkeys([*base.rows, *head.rows]):
        verdicts.append(verdict(name, base, head))
    verdicts += changed_networks(base, head)
    return verdicts, notes


def verdict(name: str, base: RunFolder, head: RunFolder) -> Verdict:
    """One case of both runs."""
    old, new = base.rows.get(name), head.rows.get(name)
    if new is not None and any(p.case == name and p.flag == "mismatch" for p in head.processes):
        return row_of(name, base, head, MISMATCH, f"{head.path.name}: {new.reason}")
    for run, row in ((base, old), (head, new)):
        if row is None:
            return row_of(name, base, head, MISSING, f"{run.path.name} has no such case")
        if row.status not in ("ok", "noisy"):
            word = FAILED if row.status == "failed" else MISSING
            return row_of(name, base, head, word, f"{run.path.name}: {row.status}: {row.reason}")
        if not run.proven(row):
            return row_of(name, base, head, MISSING, f"{run.path.name} has no proof of it in {PROOF}")
    assert old is not None and new is not None
    if base.initial_weights(name) != head.initial_weights(name):
        return row_of(name, base, head, MISMATCH, "the two runs start from other weights: times do not compare")
    case = case_of(new)
    why = other_ground(old, new) or other_speed(case, base, head)
    if why and not (base.control(case) and head.control(case)):
        return row_of(name, base, head, INCONCLUSIVE, f"{why}, and there is no control to compare by")
    values, totals = zip(*(relative(case, run) if why else absolute(case, run) for run in (head, base)))
    if not all(values):
        return row_of(name, base, head, INCONCLUSIVE, "there are no rounds of it in both runs")
    look = look_at_runs(values[0], values[1], (totals[0], totals[1]))
    word, reason = judge(look, looks=1)
    noisy = [f"{run.path.name} is noisy: {row.reason}" for run, row in ((base, old), (head, new)) if row.status != "ok"]
    if noisy:
        word, reason = INCONCLUSIVE, noisy[0]
    if why:
        reason = f"{reason}; {why}: each divided by its control" if reason else f"{why}: each divided by its control"
    return row_of(name, base, head, word, reason, "control" if why else "time", **look_fields(look, None))


def other_ground(old: Throughput, new: Throughput) -> str:
    """Which machine or setting differs; empty where times may be compared."""
    for name in SETTINGS:
        if getattr(old, name) != getattr(new, name):
            return f"{name} differs ({getattr(old, name) or 'none'}, {getattr(new, name) or 'none'})"
    return ""


def other_speed(case: Case, base: RunFolder, head: RunFolder) -> str:
    """Whether the control ran at another speed, or was not there to tell; empty where times may be compared."""
    if not (base.control(case) and head.control(case)):
        return "the machine's speed is unknown"
    old, new = (step_seconds(run.control(case), run.calm(case)).value for run in (base, head))
    change = new / old - 1
    return f"the control's step changed by {change:+.1%}" if abs(change) > SAME_SPEED else ""


def absolute(case: Case, run: RunFolder) -> tuple[list[float], list[float]]:
    """Seconds per step, by pass: of the median round, and of total time."""
    rounds, calm = run.measured(case), run.calm(case)
    return medians_by_pass(rounds, calm), totals_by_pass(rounds, calm)


def relative(case: Case, run: RunFolder) -> tuple[list[float], list[float]]:
    """The same over the control that took turns with it."""
    return ratios_by_pass(run.measured(case), run.control(case), run.calm(case))


def row_of(
    name: str,
    base: RunFolder,
    head: RunFolder,
    word: str,
    reason: str,
    basis: str = "",
    **looked: Any,
) -> Verdict:
    old, new = base.rows.get(name), head.rows.get(name)
    return Verdict(
        run_id=f"{base.path.name} {head.path.name}",
        utc=new.utc if new else "",
        case=name,
        base=base.path.name,
        head=head.path.name,
        base_version=old.version if old else "",
        head_version=new.version if new else "",
        basis=basis,
        verdict=word,
        reason=reason,
        **(looked or look_fields(None, None)),
        base_step_us=old.step_us if old else None,
        head_step_us=new.step_us if new else None,
    )


def changed_networks(base: RunFolder, head: RunFolder) -> list[Verdict]:
    """A mismatch for every network whose shapes or parameters changed, or whose error passed its tolerance."""
    found: dict[str, str] = {}
    old = {(row.backend, row.mode, row.variant, row.stage): row for row in base.shapes}
    for row in head.shapes:
        key, name = (row.backend, row.mode, row.variant, row.stage), f"shapes of {row.backend} {row.mode} {row.variant}"
        before = old.get(key)
        if row.verdict != "ok":
            found.setdefault(name, f"{row.stage} is {row.shape}, {row.parameters:,} parameters, not {row.formula}")
        elif before is not None and (before.shape, before.parameters) != (row.shape, row.parameters):
            change = f"{before.shape}, {before.parameters:,} parameters to {row.shape}, {row.parameters:,}"
            found.setdefault(name, f"{row.stage} changed from {change}")
        elif before is None and any(k[:3] == key[:3] for k in old):
            found.setdefault(name, f"the stage {row.stage} is new")
    now = {(row.backend, row.mode, row.variant, row.stage) for row in head.shapes}
    for key in old.keys() - now:
        if any(k[:3] == key[:3] for k in now):
            found.setdefault(f"shapes of {' '.join(key[:3])}", f"the stage {key[3]} is gone")
    for one in head.equivalence:
        if one.verdict != "ok" or not one.error <= one.tolerance:
            name = f"equivalence of {one.backend} {one.mode} {one.variant} {one.precision}"
            found.setdefault(name, f"{one.quantity}, {one.steps} steps: {one.error:.1e}, tolerance {one.tolerance:.1e}")
    return [row_of(name, base, head, MISMATCH, reason) for name, reason in found.items()]


def differences(base: RunFolder, head: RunFolder) -> list[str]:
    """Machines, versions and commits that differ, a line each."""
    notes = [
        "the two runs did not take turns: a gate sees smaller slowdowns than the comparison of two runs can",
    ]
    seen: dict[str, list[str]] = {}
    for name in base.rows.keys() & head.rows.keys():
        old, new = base.rows[name], head.rows[name]
        for column in (*SETTINGS, *NAMED, "commit", "dirty"):
            before, after = getattr(old, column), getattr(new, column)
            if before != after and before and after:
                place = f"{new.backend} " if column in ("version", "flags", "python") else ""
                seen.setdefault(f"{place}{column}: {before} / {after}", []).append(name)
    return notes + sorted(seen)
