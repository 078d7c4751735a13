"""The timed test: pytest-benchmark is the clock, a round is one `wait(train(chunk))`.

A conductor runs it, as a rule with one case per process, and hands out turns in `setup` and `teardown`, which
lie outside the clock. On its own, `pytest bench --benchmark-only` times every case whose framework
is installed, one after the other in one process.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.canary import NotTried
from bench.subject import Missing, prepare
from bench.turns import Turns
from bench.worker import Order

ROUNDS_ALONE, SECONDS_ALONE = 20, 5.0
LONG_ROUND_SECONDS = 0.2


def test_throughput(benchmark: Any, order: Order, turns: Turns | None) -> None:
    try:
        subject = prepare(order.case, order.dataset(), order.slowdown, order.lesson)
    except (Missing, NotTried) as reason:
        if turns is None:
            pytest.skip(str(reason))
        raise
    benchmark.group = f"{order.case.variant} batch {order.case.batch_size} {order.case.precision}"
    round_seconds = subject.seconds_per_step * subject.steps
    if turns is None:
        benchmark.pedantic(subject.run, rounds=max(3, min(ROUNDS_ALONE, int(SECONDS_ALONE / round_seconds))))
    else:
        rounds = turns.ready({"seconds": round_seconds})
        # Others have had the CPU's caches since the last turn: as in a plain loop, the clock starts on warm ones.
        warm = subject.again if round_seconds < LONG_ROUND_SECONDS else None
        benchmark.pedantic(subject.run, setup=lambda: turns.begin(warm), teardown=turns.end, rounds=rounds)
        turns.after_rounds()
    record = {"steps": subject.steps, "images": subject.images, **subject.close()}
    benchmark.extra_info.update(record)
    if turns is not None:
        turns.finished({**record, "seconds": benchmark.stats.stats.data})
