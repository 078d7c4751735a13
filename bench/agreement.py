"""Do frameworks that train the same have one curve? Their losses in the first epoch, batch by batch.

Each is laid beside the median of all that start from the same weights and see the same batches. Smooth
networks stay together for the whole epoch, as long as they learn. Where ReLU or a maximum has a kink, two
correct trainers take different sides of it sooner or later (seen in 18 trainings: 1e-4 apart after 6 to 216
steps), and are strangers from then on, batch by batch; the mean over the epoch still agrees (seen: to 2.2 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.equivalence import TOLERANCES

# Of one batch's loss, over the whole epoch or, with kinks, over so many steps; and of the epoch's mean loss.
SMOOTH, KINKED, STEPS_BEFORE_KINKS, EPOCH = 1e-3, 1e-2, 3, 0.1
# A mean loss of the epoch that is so many times the first batch's: this learning rate does not learn.
WRONG = 1.1


@dataclass(frozen=True)
class Agreement:
    """How far one trainer's losses are from the median of all, relative: the worst batch, and the epoch's mean."""

    batch: float
    epoch: float
    batch_tolerance: float

    @property
    def holds(self) -> bool:
        return self.batch <= self.batch_tolerance and self.epoch <= EPOCH


def agreement(own: np.ndarray, everybody: Sequence[np.ndarray], kinks: bool, precision: str) -> Agreement | None:
    """One trainer's losses of the first epoch beside everybody's, its own among them; None where there is nobody else.

    A batch's loss is relative to its median or to the epoch's mean, whichever is more: one that is nearly learned
    has next to none.
    """
    steps = min(map(len, everybody))
    if len(everybody) < 2 or not steps:
        return None
    middle = np.median([losses[:steps] for losses in everybody], axis=0)
    # A training that goes wrong is chaotic in the smoothest network.
    learns = middle.mean() <= WRONG * middle[0]
    compared = steps if learns and not kinks else min(steps, STEPS_BEFORE_KINKS)
    off = np.abs(own[:steps] - middle) / np.maximum(middle, middle.mean())
    mean = float(np.median([losses[:steps].mean() for losses in everybody]))
    tolerance = max(KINKED if kinks else SMOOTH, TOLERANCES[precision].losses)
    return Agreement(float(off[:compared].max()), abs(float(own[:steps].mean()) / mean - 1), tolerance)


def worst(found: Sequence[Agreement]) -> Agreement | None:
    """Of several seeds."""
    if not found:
        return None
    return Agreement(max(a.batch for a in found), max(a.epoch for a in found), found[0].batch_tolerance)
