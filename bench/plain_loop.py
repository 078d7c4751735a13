"""A plain loop, as anybody would write it: what the suite's rate is held against in a self-check.

It imports a backend, trains, and reads the clock. No pytest, no pytest-benchmark, no canary, no proof;
only its turns are shared with the other processes, and in each, once its caches are warm, it trains for
many rounds on end and waits once, after the last.
"""

from __future__ import annotations

import math
import sys
import time

from bench.turns import Turns, die_with_parent
from bench.worker import read_order

ROUNDS_ON_END = 5


def main(order_path: str) -> None:
    die_with_parent()
    order = read_order(order_path)
    turns = Turns.connect(order.case.id)

    import backends
    from backends.lenet import VARIANTS, initial_weights

    case, variant = order.case, VARIANTS[order.case.variant]
    module = backends.load(backends.registry()[case.backend])
    trainer = module.build(variant, initial_weights(variant), case.setup())
    call_steps = backends.registry()[case.backend].mode(case.mode).call_steps
    call = trainer.put(*order.dataset().batches(call_steps, case.batch_size))
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 1.0:
        trainer.wait(trainer.train(call))
        count += call_steps
    per_round = max(call_steps, math.ceil(0.010 * count / (time.perf_counter() - began)))
    steps = ROUNDS_ON_END * per_round
    chunk = trainer.put(*order.dataset().batches(per_round, case.batch_size))

    rounds = turns.ready({"seconds": steps / count})
    seconds = []
    for _ in range(rounds):
        turns.begin()
        trainer.wait(trainer.train(chunk))
        began = time.perf_counter()
        for _ in range(ROUNDS_ON_END):
            pending = trainer.train(chunk)
        trainer.wait(pending)
        seconds.append(time.perf_counter() - began)
        turns.end()
    turns.after_rounds()
    turns.finished({"steps": steps, "images": steps * case.batch_size, "seconds": seconds})


if __name__ == "__main__":
    main(sys.argv[1])
