"""A plain loop, as anybody would write it: what the suite's rate is held against in a self-check.

It imports a backend, trains, and reads the clock. No pytest, no pytest-benchmark, no canary, no proof;
only its turns are shared with the other processes, and in each, once its caches are warm, it trains for
many rounds on end.
"""

from __future__ import annotations

import sys
import time

from bench.turns import Turns, die_with_parent
from bench.worker import read_order

ROUNDS_ON_END = 5


def main(order_path: str) -> None:
    die_with_parent()
    order = read_order(order_path)
    order.settle()
    turns = Turns.connect()

    import backends
    from backends.lenet import VARIANTS, initial_weights

    case, variant = order.case, VARIANTS[order.case.variant]
    module = backends.load(backends.registry()[case.backend])
    trainer = module.build(variant, initial_weights(variant), case.setup())
    batch = trainer.put(*order.dataset().batches(1, case.batch_size))
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 1.0:
        trainer.wait(trainer.train(batch))
        count += 1
    per_round = max(1, round(0.010 * count / (time.perf_counter() - began)))
    steps = ROUNDS_ON_END * per_round

    rounds = turns.ready({"seconds": steps / count})
    seconds = []
    for _ in range(rounds):
        turns.begin()
        for _ in range(per_round):
            trainer.wait(trainer.train(batch))
        began = time.perf_counter()
        for _ in range(steps):
            trainer.wait(trainer.train(batch))
        seconds.append(time.perf_counter() - began)
        turns.end()
    turns.after_rounds()
    turns.finished({"steps": steps, "images": steps * case.batch_size, "seconds": seconds})


if __name__ == "__main__":
    main(sys.argv[1])
