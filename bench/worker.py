"""What runs inside a backend's own environment: `python -m bench.worker {verify,shapes} ORDER ANSWER`.

The order is a JSON file that the harness wrote; the answer is a JSON file that it reads. Throughput
is not here: that is the pytest-benchmark test in `test_throughput.py`, which takes the same orders.
"""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backends.interface import Unsupported
from backends.lenet import VARIANTS, initial_weights
from bench.cases import Case
from bench.data import Dataset, synthetic
from bench.equivalence import CHECKPOINTS, compare_training
from bench.lesson import teach
from bench.subject import Missing, Slowdown, load, read_dataset
from bench.turns import die_with_parent


@dataclass(frozen=True)
class Order:
    """One case and what it needs: data and a lesson that the harness prepared, a slowdown."""

    case: Case
    data: str = "synthetic"
    folder: str = ""
    slowdown: Slowdown | None = None
    lesson: str = ""

    def dataset(self) -> Dataset:
        if not self.folder:
            return synthetic(VARIANTS[self.case.variant].input_size if self.case.variant in VARIANTS else 1)
        return read_dataset(self.data, Path(self.folder))


def write_order(path: Path, order: Order) -> None:
    path.write_text(json.dumps(asdict(order)), encoding="utf-8")


def read_order(path: str) -> Order:
    fields = json.loads(Path(path).read_text(encoding="utf-8"))
    slowdown = Slowdown(**fields["slowdown"]) if fields["slowdown"] else None
    return Order(Case(**fields["case"]), fields["data"], fields["folder"], slowdown, fields["lesson"])


def verify(order: Order) -> dict[str, Any]:
    """The whole proof, up to 100 steps."""
    return _prove(order, CHECKPOINTS)


def shapes(order: Order) -> dict[str, Any]:
    """The same after one step, for what it says of stage shapes and parameters."""
    return _prove(order, CHECKPOINTS[:1])


def _prove(order: Order, checkpoints: tuple[int, ...]) -> dict[str, Any]:
    module, variant, setup = load(order.case.backend), VARIANTS[order.case.variant], order.case.setup()
    trainer = module.build(variant, initial_weights(variant), setup)
    lesson = teach(variant, order.case.batch_size, checkpoints, setup.learning_rate)
    proof = compare_training(trainer, variant, setup.precision, lesson)
    return {"version": module.version, "proof": asdict(proof)}


def answer(verb: str, order: Order) -> dict[str, Any]:
    """What the verb found, or `status` and `reason` where it could not."""
    try:
        return {"status": "ok", "reason": "", **{"verify": verify, "shapes": shapes}[verb](order)}
    except (Missing, Unsupported) as error:
        return {"status": "unavailable", "reason": str(error)}
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        return {"status": "failed", "reason": f"{type(error).__name__}: {lines[0]}"[:500]}


def main(verb: str, orders_path: str, answer_path: str) -> None:
    die_with_parent()
    orders = json.loads(Path(orders_path).read_text(encoding="utf-8"))
    answers = [answer(verb, read_order(path)) for path in orders]
    Path(answer_path).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
