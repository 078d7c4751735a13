"""The CPU quota of this process's control group, and for how long it has stopped the group (Linux).

A quota is so many CPU seconds per period, 100 ms as a rule, for all threads of a group together. When they are used up,
the kernel stops every thread until the next period: what is timed then is the quota, and no framework's fault. Version
2 of control groups calls it `cpu.max`, version 1 `cpu.cfs_quota_us`; a group is also bound by its ancestors'.
Where there is nothing of that kind to read, there is no quota.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")
WAY_OUT = "run with a quota of at least 1 CPU per thread"
# Of the line `throttled_usec 1234` or `throttled_time 1234` in cpu.stat, which unit that is.
SECONDS = {"throttled_usec": 1e-6, "throttled_time": 1e-9}


@dataclass(frozen=True)
class Quota:
    """So many CPUs, and which file of which group says so; `stat` counts for how long it has stopped the group."""

    cpus: float
    file: str
    group: str
    stat: Path


def quotas(root: Path = ROOT) -> list[Quota]:
    """Those of this process's groups and of all their ancestors."""
    return [quota for folder, group in groups(root) if (quota := read_quota(folder, group))]


def smallest(root: Path = ROOT) -> Quota | None:
    """The quota that binds; None where there is none."""
    return min(quotas(root), key=lambda quota: quota.cpus, default=None)


def groups(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """The folder and the name of every group that this process is in, from its own up to what is mounted.

    A container sees only a part of the tree: where its group is not below what is mounted, that itself is taken.
    """
    own = own_groups(root)
    for kind, (mounted, place) in mounts(root).items():
        if kind not in own:
            continue
        top = root / place.lstrip("/")
        group = PurePosixPath(own[kind])
        below = group.relative_to(mounted) if group.is_relative_to(mounted) and ".." not in group.parts else None
        if below is None or not (top / below).is_dir():
            below = PurePosixPath()
        for part in (below, *below.parents):
            yield top / part, str(PurePosixPath(mounted) / part)


def own_groups(root: Path) -> dict[str, str]:
    """The groups of this process that can have a quota: `cgroup2`, and `cgroup` for version 1's controller `cpu`."""
    found = {}
    for line in lines_of(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            found["cgroup2"] = group
        elif "cpu" in controllers.split(","):
            found["cgroup"] = group
    return found


def mounts(root: Path) -> dict[str, tuple[str, str]]:
    """Of the same kinds, which group is mounted where: the first that is found (proc(5), /proc/pid/mountinfo)."""
    found: dict[str, tuple[str, str]] = {}
    for line in lines_of(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        words, kind = left.split(" "), right.split(" ")
        if len(words) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" or (kind[0] == "cgroup" and "cpu" in kind[2].split(",")):
            found.setdefault(kind[0], (unescaped(words[3]), unescaped(words[4])))
    return found


def unescaped(word: str) -> str:
    """A path as mountinfo writes it, with blanks as `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), word)


def read_quota(folder: Path, group: str) -> Quota | None:
    """What the group itself may use; None where nothing limits it."""
    for file, text in (
        ("cpu.max", " ".join(lines_of(folder / "cpu.max"))),
        ("cpu.cfs_quota_us", " ".join(map(first_line, (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")))),
    ):
        try:
            quota, period = map(int, text.split())
        except ValueError:  # "max 100000", or no such file
            continue
        if quota > 0 and period > 0:
            return Quota(quota / period, file, group, folder / "cpu.stat")
    return None


@functools.cache
def stat_files(root: Path = ROOT) -> tuple[str, ...]:
    """Where the time is counted, found once: a quota that is given to a process later is not seen."""
    return tuple(str(quota.stat) for quota in quotas(root))


def throttled_seconds(root: Path = ROOT) -> float:
    """For how long quotas have stopped this process's groups so far, summed over CPUs; 0 where nobody counts.

    Asking costs 12 µs of CPU time for each group that has a quota, and nothing where none has.
    """
    return sum(map(read_throttled, stat_files(root)))


def read_throttled(path: str) -> float:
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(4096).decode("ascii")
        counts = dict(line.split() for line in text.splitlines())
        return next((int(counts[name]) * unit for name, unit in SECONDS.items() if name in counts), 0.0)
    except (OSError, ValueError):
        return 0.0


def named(quota: Quota | None) -> str:
    """`CPU quota of 0.3 (cpu.max)`, for a sentence."""
    return f"CPU quota of {quota.cpus:.3g} ({quota.file})" if quota else "CPU quota"


def stopped_it(share: float) -> str:
    """Why figures are not a case's own: its quota stopped it for that share of the time."""
    return f"its {named(smallest())} stopped it for {share:.0%} of the time; {WAY_OUT}"


def stopped_since(before: float, seconds: float) -> str:
    """For how long of those seconds, which began when `before` was counted, to be added to a reason; else empty."""
    stopped = min(throttled_seconds() - before, seconds)
    return f", of which the {named(smallest())} stopped this run for {stopped:.0f} s" if stopped >= 1 else ""


def said_first(cpus: int, root: Path = ROOT) -> str:
    """What there is to say before anything is measured on so many CPUs; empty where no quota is in the way."""
    quota = smallest(root)
    if quota is None or quota.cpus >= cpus:
        return ""
    much = f"{quota.cpus:.3g} of a CPU" if quota.cpus < 1 else f"{quota.cpus:.3g} CPUs"
    whose = "rounds" if quota.cpus < 1 else "rounds of more threads"
    return (
        f"this process may use {much} ({quota.file} of {quota.group}): {whose} are stopped when that is used up; "
        f"figures will be low and wide; {WAY_OUT}"
    )


def first_line(path: Path) -> str:
    return next(iter(lines_of(path)), "")


def lines_of(path: Path) -> list[str]:
    """The lines of a file of the system; none where it cannot be read."""
    try:
        return os.fsdecode(path.read_bytes()).splitlines()
    except OSError:
        return []
