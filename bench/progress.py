"""What a person is told while something is measured: which pass, how long it takes, and cases by a reader's names."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from bench.cases import Case
from bench.control import is_control

Tell = Callable[[str], None]
THE_CONTROL = "the control (a matrix product)"


def told_in(progress: Tell, where: str, left: Callable[[], str] = str) -> Tell:
    """`progress` with the place in front of every line, and the time that is left behind it."""
    return lambda text: progress(", ".join(filter(None, (where, text, left()))))


def pass_of(number: int, fewest: int, most: int | None) -> str:
    """Which pass of how many; `most` is None where that depends on what is found.

    A pass beyond the last is measured because another was disturbed, or intervals are still wide.
    """
    if number > (most or fewest):
        return f"pass {number}, {'in place of a disturbed one' if most else 'as intervals are still wide'}"
    if most is None:
        return f"pass {number} of at least {fewest}"
    return f"pass {number} of {most}" if fewest == most else f"pass {number} of {fewest} to {most}"


@dataclass(frozen=True)
class Limits:
    """How many passes there will be: `most` is None where no number is set. No pass begins that would not end within
    the minutes, but for the `fewest`."""

    fewest: int
    most: int | None
    minutes: float = 1e9

    def left(self, done: int, began: float, pass_began: float, longest: float) -> str:
        """How long it will take, seen from within a pass after so many, the longest of which took that many seconds."""
        if not longest:
            return ""
        passes = max((began + 60 * self.minutes - pass_began) // longest, self.fewest - done)
        passes = passes if self.most is None else min(passes, self.most - done)
        return in_words(pass_began + max(1, passes) * longest - time.monotonic())


def in_words(seconds: float) -> str:
    """`at most about 3 min left`; nothing where it is as good as done."""
    if seconds >= 90:
        much = f"{seconds / 60:.0f} min"
    elif seconds >= 10:
        much = f"{round(seconds, -1):.0f} s"
    else:
        return ""
    return f"at most about {much} left"


def names_of(cases: Collection[Case]) -> dict[str, str]:
    """What a reader calls each case, by its id: backend and mode, and what else tells it from others of its kind."""
    found = {}
    for own in ([case for case in cases if is_control(case) == control] for control in (False, True)):
        every = [parts(case) for case in own]
        for case, its in zip(own, every):
            apart = [part for column, part in enumerate(its) if part and len({other[column] for other in every}) > 1]
            name = THE_CONTROL if is_control(case) else f"{case.backend} {case.mode}"
            found[case.id] = ", ".join([name, *apart]) + (f" ({case.copy})" if case.copy else "")
    return found


def parts(case: Case) -> tuple[str, ...]:
    """What a case is beside its backend and mode, in words."""
    return (
        case.variant,
        case.device,
        case.precision,
        f"batch {case.batch_size}",
        f"{case.threads} thread{'s' if case.threads > 1 else ''}",
        "data moved inside the clock" if case.feed == "stream" else "",
    )
