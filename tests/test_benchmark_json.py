"""`benchmark.json` beside `throughput.csv`, of rounds that are made up, so that it is known which of them count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backends import registry
from bench.benchmark_json import FILE
from bench.cases import Case
from bench.conductor import Plan
from bench.control import control_of
from bench.machine import Machine
from bench.results import Process, Round, Throughput, read_rows
from bench.run import Request, Run
from tests.made_up import blank

GOOD, DIED = Case("numpy", "im2col"), Case("numpy", "loops")
SWEEPS = 20
CALM = [0.010] * SWEEPS
DISTURBED = [0.010] * 5 + [0.015] * (SWEEPS - 5)  # a quarter of its sweeps is calm; three tenths would do


def write_run(folder: Path, passes: list[list[float]]) -> Run:
    """A run of two cases, one of which died in its last pass, beside a control with those seconds per round."""
    request = Request((GOOD, DIED), frozenset(), "synthetic", None, {}, len(passes), 0.03, 5.0, 1, Plan(), "made up")
    run = Run(folder, request, registry(), Machine("here", "EPYC", "", "Linux", "", ""), "2026-11-21T09:00:00+00:00")
    for number, seconds in enumerate(passes, 1):
        for case in (GOOD, DIED, control_of(GOOD)):
            died = case == DIED and number == len(passes)
            status = "failed" if died else "ok"
            run.processes.append(blank(Process, case=case.id, pass_number=number, status=status))
            run.rounds += [] if died else [
                blank(Round, case=case.id, pass_number=number, round=sweep, sweep=sweep, steps=2, images=256,
                      seconds=one + number * 1e-6 + sweep * 1e-9)
                for sweep, one in enumerate(seconds)
            ]  # fmt: skip
    run.write()
    return run


@pytest.mark.parametrize(
    ("passes", "disturbed", "counted"),
    [
        ([CALM, CALM, CALM], set(), {1, 2, 3}),
        ([CALM, DISTURBED, CALM], {2}, {1, 3}),
        ([CALM, DISTURBED], {2}, {1, 2}),  # one undisturbed pass has no interval: all count, and the row is noisy
        ([DISTURBED, DISTURBED], {1, 2}, {1, 2}),
    ],
)
def test_it_holds_the_rounds_that_throughput_counts_and_no_others(
    tmp_path: Path, passes: list[list[float]], disturbed: set[int], counted: set[int]
) -> None:
    run = write_run(tmp_path, passes)
    assert run.disturbed_passes() == disturbed
    rows = {row.mode: row for row in read_rows(tmp_path, Throughput)}
    (benchmark,) = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))["benchmarks"]
    assert benchmark["name"] == GOOD.id, "of a case that failed, no round counts"
    assert (rows[GOOD.mode].rounds, rows[DIED.mode].rounds) == (SWEEPS * len(counted), 0)
    assert benchmark["stats"]["rounds"] == rows[GOOD.mode].rounds
    own = [one for one in run.rounds if one.case == GOOD.id and one.pass_number in counted]
    # The same numbers, bit for bit: JSON keeps every digit.
    assert benchmark["stats"]["data"] == [one.seconds / one.steps for one in own]
    assert len(read_rows(tmp_path, Round)) == len(run.rounds), "rounds.csv keeps them all"
