"""From looks to verdicts: what a gate or a comparison of two runs says of each case, and its exit code.

A slowdown is red only if two looks at fresh processes suspect it. A case in which a slowdown of 5 %
could have gone unseen is inconclusive, never green.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from bench.estimates import MARGIN, TOO_NOISY, WIDEST, Look
from bench.results import Verdict

SLOWER, MISMATCH, FAILED, MISSING = "slower", "mismatch", "failed", "missing"
INCONCLUSIVE, HELD, FASTER = "inconclusive", "ok", "faster"
RED = (SLOWER, MISMATCH)
FIRST_LOOK = ("ratio", "ratio_low", "ratio_high", "total_ratio", "bound", "pair_sd", "resolves", "total_resolves")
SECOND_LOOK = ("second_ratio", "second_total_ratio", "second_bound", "second_resolves")


def judge(first: Look | None, second: Look | None = None, looks: int = 2) -> tuple[str, str]:
    """The verdict and why, of up to two looks; where `looks` is 1, the first one decides alone."""
    if first is None:
        return INCONCLUSIVE, "no pair of processes was measured"
    last = second or first
    if first.suspect and (looks == 1 or (second is not None and second.suspect)):
        return SLOWER, (
            f"{percent(last.ratio.value)} by the median round, {percent(last.total.value)} by total time; "
            f"more than {last.bound - 1:.1%} slower with 99 % confidence"
            + (", in two looks at fresh processes" if looks == 2 else "")
        )
    if first.suspect and second is None:
        return INCONCLUSIVE, "suspected of being slower, and not measured again"
    if not last.conclusive:
        return INCONCLUSIVE, unseen(last)
    if first.suspect:
        return HELD, f"suspected at first ({percent(first.ratio.value)}), not again at fresh processes"
    if last.ratio.high is not None and last.ratio.high < 1 / (1 + MARGIN):
        return FASTER, ""
    return HELD, ""


def unseen(look: Look) -> str:
    """What a look could not have seen, in numbers as long as they are worth printing."""
    if too_noisy(look.resolves):
        return f"{TOO_NOISY}: slowdowns of more than {WIDEST - 1:.0%} could have gone unseen"
    median = f"a slowdown of up to {look.resolves:.1%} could have gone unseen"
    if too_noisy(look.total_resolves):
        return f"{median}; by total time, it is {TOO_NOISY}"
    return f"{median}, one in some rounds only of up to {look.total_resolves:.1%} by total time"


def too_noisy(resolves: float | None) -> bool:
    """Whether a smallest visible slowdown is so large that its size says nothing."""
    return resolves is not None and resolves > WIDEST - 1


def look_fields(first: Look | None, second: Look | None) -> dict[str, Any]:
    """The columns of a verdict that tell of the looks."""
    blank: dict[str, Any] = {"passes": 0, "second_passes": 0}
    blank.update(dict.fromkeys(FIRST_LOOK + SECOND_LOOK))
    if first is not None:
        spread = None if math.isnan(first.spread) else first.spread
        values = (first.ratio.value, first.ratio.low, first.ratio.high, first.total.value, first.bound)
        blank.update(zip(FIRST_LOOK, (*values, spread, first.resolves, first.total_resolves)), passes=first.passes)
    if second is not None:
        values_again = (second.ratio.value, second.total.value, second.bound, second.resolves)
        blank.update(zip(SECOND_LOOK, values_again), second_passes=second.passes)
    return blank


def exit_code(verdicts: Collection[Verdict], allow_missing: bool) -> int:
    """1 slower or another network, 4 a case is missing or nothing was compared, 3 inconclusive, 0 all held.

    `allow_missing` forgives a case that one side does not have, not one that failed.
    """
    said = {verdict.verdict for verdict in verdicts}
    if said & set(RED):
        return 1
    if FAILED in said or not said - {MISSING} or (MISSING in said and not allow_missing):
        return 4
    return 3 if INCONCLUSIVE in said else 0


def conclusion(verdicts: Sequence[Verdict], allow_missing: bool) -> str:
    """One line for all cases."""
    counts = {word: sum(one.verdict == word for one in verdicts) for word in dict.fromkeys(v.verdict for v in verdicts)}
    words = {0: "held", 1: "red", 3: "inconclusive", 4: "incomplete"}[exit_code(verdicts, allow_missing)]
    return f"{words}: " + ", ".join(f"{count} {word}" for word, count in counts.items())


def percent(ratio: float) -> str:
    """1.05 as `+5.0 %`."""
    return f"{ratio - 1:+.1%}"
