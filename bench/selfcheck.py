"""What this machine can resolve: identical code beside itself, and exact slowdowns that have to be found.

One process of a case is the base. Beside it run an identical one, a plain loop of the same framework
without the suite, and one for each slowdown, taking turns as in any run. The spread of identical pairs
says what a gate here could catch.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from bench.cases import Case
from bench.conductor import Conductor, Plan
from bench.control import control_of
from bench.estimates import calm_sweeps, log_interval, pair_sd, ratios_by_pass, smallest_caught, verdict
from bench.machine import Machine
from bench.progress import Limits, names_of, pass_of, told_in
from bench.results import Round, SelfCheck
from bench.subject import Slowdown
from bench.tree import SOURCE_ROOT

SAME, PLAIN = "same", "plain"
SLOWDOWNS = {
    SAME: Slowdown(0.0),
    PLAIN: Slowdown(0.0),
    "plus2": Slowdown(0.02),
    "plus5": Slowdown(0.05),
    "plus10": Slowdown(0.10),
    "sparse": Slowdown(1.0, every=10),
}
BESIDE = {SAME: "identical code", PLAIN: "plain loop"}


def cases(every_case: Sequence[Case], modes: Sequence[str]) -> list[Case]:
    """Each backend's last mode of its lane in the table, the fastest of it; all where modes are named."""
    return list(every_case) if modes else list({case.backend: case for case in every_case}.values())


def check(
    case: Case,
    python: Path,
    data: str,
    folders: Mapping[str, Path],
    plan: Plan,
    passes: int,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[list[SelfCheck], str]:
    """A row per slowdown, or none and the reason why the case could not be measured."""
    copies = {replace(case, copy=name): slowdown for name, slowdown in SLOWDOWNS.items()}
    everyone = [replace(case, copy="base"), *copies]
    conductor = Conductor(
        dict.fromkeys(everyone, python),
        data,
        folders,
        plan,
        random.Random(f"{seed} {case.id}"),
        slowdowns={one: slowdown for one, slowdown in copies.items() if slowdown.share},
        plain=[one for one in copies if one.copy == PLAIN],
    )
    rounds: dict[str, list[Round]] = {}
    began, longest = time.monotonic(), 0.0
    for number in range(1, passes + 1):
        pass_began = time.monotonic()
        left = functools.partial(Limits(passes, passes).left, number - 1, began, pass_began, longest)
        where = f"{names_of([case])[case.id]}: {pass_of(number, passes, passes)}"
        conductor.progress = told_in(progress, where, left)
        conductor.progress("")
        for outcome in conductor.run_pass(everyone, number):
            if outcome.status != "ok":
                return [], f"{outcome.status}: {outcome.reason}"
            rounds.setdefault(outcome.case.id, []).extend(outcome.rounds)
        longest = max(longest, time.monotonic() - pass_began)
    calm = calm_sweeps(rounds[control_of(case).id])
    machine = Machine.here(SOURCE_ROOT)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    identical, _ = ratios_by_pass(rounds[replace(case, copy=SAME).id], rounds[everyone[0].id], calm)
    rows = []
    for one, slowdown in copies.items():
        medians, totals = ratios_by_pass(rounds[one.id], rounds[everyone[0].id], calm)
        found = log_interval(medians)
        rows.append(
            SelfCheck(
                case=case.id,
                beside=BESIDE.get(one.copy, "slowdown"),
                injected=slowdown.share,
                every=slowdown.every,
                passes=len(medians),
                rounds=len(rounds[one.id]),
                found=found.value - 1,
                found_low=None if found.low is None else found.low - 1,
                found_high=None if found.high is None else found.high - 1,
                found_total=log_interval(totals).value - 1,
                pair_sd=pair_sd(medians),
                catches=smallest_caught(pair_sd(identical), len(identical)),
                verdict=verdict(found),
                utc=now,
                cpu=machine.cpu,
                host=machine.host,
            )
        )
    return rows, ""
