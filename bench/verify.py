"""The proof for every backend x mode x variant x precision, in that backend's own environment.

`lenet-bench verify` reads the comparisons from it, `lenet-bench shapes` the shapes. One process per
backend and variant goes through all of its cases.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ground, turns
from bench.cases import Case
from bench.conductor import kill_group, last_words
from bench.results import Equivalence, printable
from bench.tree import lay_out
from bench.worker import Order, write_order

# Small, so that 100 steps of plain Python loops take seconds; the main job proves at the timed batch size.
BATCH_SIZE = 8


@dataclass(frozen=True)
class Answer:
    """What a worker found out about one case: `status` is ok, unavailable or failed."""

    case: Case
    status: str
    reason: str
    version: str = ""
    comparisons: tuple[dict[str, Any], ...] = ()
    shapes: Mapping[str, Sequence[int]] | None = None
    parameters: Mapping[str, int] | None = None


def ask(
    verb: str,
    python: Path,
    cases: Sequence[Case],
    deadline_seconds: float,
) -> list[Answer]:
    """Have one process in that environment verify or shape all the cases; an answer for each."""
    with tempfile.TemporaryDirectory(prefix="lenet-bench-") as scratch:
        orders = []
        for case in cases:
            orders.append(Path(scratch) / f"{case.id}.json")
            write_order(orders[-1], Order(case))
        listing, answer, log = (Path(scratch) / name for name in ("orders.json", "answers.json", "log.txt"))
        listing.write_text(json.dumps([str(order) for order in orders]), encoding="utf-8")
        chosen = {**ground.variables(max(case.threads for case in cases)), turns.PARENT_VARIABLE: str(os.getpid())}
        chosen["TMPDIR"] = scratch  # for what frameworks compile and keep
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), "-m", "bench.worker", verb, str(listing), str(answer)],
                cwd=scratch,
                env=ground.environment(chosen, str(lay_out(Path(scratch) / "tree"))),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",
            )
        try:
            process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            return [Answer(case, "failed", f"no answer within {deadline_seconds:.0f} s") for case in cases]
        finally:
            kill_group(process)
        try:
            found = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            reason = f"the worker ended with exit status {process.returncode}; {last_words(log)}"
            return [Answer(case, "failed", reason) for case in cases]
    return [
        Answer(case, one["status"], printable(one["reason"]), one.get("version", ""), **one.get("proof", {}))
        for case, one in zip(cases, found)
    ]


def equivalence_rows(case: Case, version: str, comparisons: Sequence[Mapping[str, Any]]) -> list[Equivalence]:
    """One row per comparison, with its verdict."""
    return [
        Equivalence(
            backend=case.backend,
            version=version,
            mode=case.mode,
            variant=case.variant,
            device=case.device,
            precision=case.precision,
            batch_size=case.batch_size,
            quantity=one["quantity"],
            steps=one["steps"],
            error=math.inf if math.isnan(one["error"]) else one["error"],  # a file holds no NaN
            tolerance=one["tolerance"],
            worst=one["worst"],
            verdict="ok" if one["error"] <= one["tolerance"] else "mismatch",
        )
        for one in comparisons
    ]
