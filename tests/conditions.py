"""The README's test command under every condition of a machine that is known to matter: `python -m tests.conditions`.

It runs `nox -s tests` on fresh copies of the working tree and needs only the Python that has nox, on Linux or macOS.
What is green under several conditions at once is green under each, so they are laid into as few runs as possible;
a run that is red is repeated one condition at a time. Each takes as long as the suite, of which this is no part.

    python -m tests.conditions --list
    python -m tests.conditions -- --fast                       # what follows -- goes to nox -s tests
    python -m tests.conditions --each --only busy,c-locale
    python -m tests.conditions --plant                         # tests/planted.py alone: is every dependence caught?
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import surroundings
from tests.surroundings import NOBODY, ROOT, RUNNING


@dataclass(frozen=True)
class Condition:
    """One value of one axis; `{tmpdir}` and `{files}` in a variable are folders of the run."""

    name: str
    axis: str
    variables: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""  # what /proc/cpuinfo has to list


KERNELS = {"Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f", "Sandybridge": "avx", "Prescott": "pni"}
CONDITIONS = [
    *(Condition(name.lower(), "kernel", {"OPENBLAS_CORETYPE": name}, flag) for name, flag in KERNELS.items()),
    *(Condition(f"python3.{minor}", "python") for minor in (11, 12, 13, 14)),
    Condition("not-root", "user"),
    Condition("files-in-cwd", "files"),
    Condition("files-on-pythonpath", "files", {"PYTHONPATH": "{files}"}),
    Condition("pythonpath-slip", "files", {"PYTHONPATH": ":/x"}),
    *(Condition(f"blas-threads-{count}", "threads", {"OPENBLAS_NUM_THREADS": count}) for count in "12"),
    Condition("busy", "load"),
    Condition("memory", "load"),
    Condition("odd-path", "path"),
    Condition("c-locale", "locale", {"LANG": "C", "LC_ALL": "C"}),
    Condition("tmpdir-elsewhere", "tmpdir", {"TMPDIR": "{tmpdir}"}),
    Condition("no-git", "git"),
]
# Another user may be unable to execute the Python that a condition names.
APART = {"user": "python", "python": "user"}


@dataclass(frozen=True)
class Workshop:
    """Where things lie, and what is asked of nox. Environments are those of the Python that runs this."""

    scratch: Path
    environments: Path
    arguments: Sequence[str]
    plant: bool
    limit: float
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


@dataclass(frozen=True)
class Outcome:
    """How one run came out."""

    title: str
    verdict: str
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    failing: Sequence[str] = ()
    log: Path | None = None

    @property
    def red(self) -> bool:
        return self.verdict.startswith("red")

    @property
    def row(self) -> str:
        tests = " / ".join(str(self.counts.get(word, 0)) for word in ("passed", "failed", "skipped"))
        where = f"{', '.join(self.failing) or 'no test is named'}; {self.log}" if self.red else ""
        return f"| {self.title} | {self.verdict} | {self.seconds:.0f} | {tests} | {where} |"


def title(conditions: Sequence[Condition]) -> str:
    return " + ".join(condition.name for condition in conditions) or "no condition"


def lay(conditions: Sequence[Condition]) -> list[list[Condition]]:
    """The conditions in as few runs as there can be, at most one of each axis in a run, evenly filled."""
    longest = max(Counter(condition.axis for condition in conditions).values(), default=0)
    runs: list[list[Condition]] = [[] for _ in range(longest)]
    for condition in conditions:
        taken = {condition.axis, APART.get(condition.axis)}
        free = [run for run in runs if not taken & {other.axis for other in run}]
        if not free:
            free = [[]]
            runs += free
        min(free, key=len).append(condition)
    return runs


def why_not(condition: Condition, scratch: Path) -> str:
    """Why that condition cannot be had on this machine; empty where it can."""
    cpuinfo, closed = Path("/proc/cpuinfo"), [one for one in scratch.parents if not one.stat().st_mode & 1]
    if condition.axis == "kernel" and platform.machine().lower() not in ("x86_64", "amd64"):
        return f"this is {platform.machine()}, not x86-64"
    if condition.needs and cpuinfo.is_file() and condition.needs not in cpuinfo.read_text().split():
        return f"this processor has no {condition.needs}"
    if condition.axis == "user" and os.geteuid() != 0:
        return "only root can run it as another user"
    if condition.axis == "user" and closed:
        return f"another user cannot enter {closed[0]}; name another --scratch"
    if condition.axis == "user" and not surroundings.python_of("", NOBODY):
        return "no Python 3.11 or newer that another user can execute"
    if condition.axis == "python" and not surroundings.python_of(condition.name.removeprefix("python"), os.geteuid()):
        return f"no {condition.name} on PATH, in ~/.pyenv/versions or in /opt"
    if condition.axis == "tmpdir" and not surroundings.elsewhere(scratch):
        return f"no writable folder that is not on the file system of {scratch}"
    return ""


def run(workshop: Workshop, conditions: Sequence[Condition]) -> Outcome:
    """One `nox -s tests` under all of these conditions."""
    print(f"{time.strftime('%H:%M:%S')} {title(conditions)}", flush=True)
    name = {condition.axis: condition.name for condition in conditions}
    number, began = next(workshop.numbers), time.monotonic()
    folder, log = workshop.scratch / f"run-{number}", workshop.scratch / "logs" / f"{number}.log"
    other = surroundings.elsewhere(workshop.scratch) if "tmpdir" in name else None
    tmpdir = Path(tempfile.mkdtemp(prefix="conditions-", dir=other))
    try:
        command, options = prepare(workshop, conditions, folder, tmpdir)
        with log.open("wb") as output, surroundings.load(name.get("load", "")):
            returned = surroundings.finish(command, workshop.limit * 60, stdout=output, **options)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace").split("\n")[-2:][0] or f"status {error.returncode}"
        return Outcome(title(conditions), f"red: {' '.join(error.cmd)}: {said}", time.monotonic() - began, log=log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(tmpdir, ignore_errors=True)
    return read(title(conditions), returned, time.monotonic() - began, log)


def prepare(
    workshop: Workshop, conditions: Sequence[Condition], folder: Path, tmpdir: Path
) -> tuple[list[str], dict[str, Any]]:
    """The copy in that folder; the command, and the options to start it with."""
    name = {condition.axis: condition.name for condition in conditions}
    uid, version = NOBODY if "user" in name else os.geteuid(), name.get("python", "").removeprefix("python")
    checkout = folder / ("a checkout of José" if "path" in name else "checkout")
    surroundings.copy_tree(checkout, git="git" not in name)
    if workshop.plant:
        surroundings.plant(checkout)
    key, cwd = f"{version or 'any'}-{uid}", folder / "the user's" if "files" in name else checkout
    own = uid == os.geteuid() and version in ("", RUNNING)
    environments = workshop.environments if own else workshop.scratch / "environments" / key
    environments.mkdir(parents=True, exist_ok=True)
    set_to = {**variables(conditions, folder, tmpdir), "LENET_BENCH_ENVIRONMENTS": str(environments)}
    for owned in (folder, tmpdir, environments) if "user" in name else ():
        surroundings.give(owned, uid)
    python = surroundings.with_nox(workshop.scratch / "nox" / key, version, uid)
    command = [python, "-P", "-m", "nox", "-f", f"{checkout}/noxfile.py", "-s", "tests", "--", *workshop.arguments]
    environment = {**os.environ, **set_to, "PWD": str(cwd)}  # PWD, as a shell would
    return command, {"cwd": cwd, "env": environment, **surroundings.as_user(uid)}


def variables(conditions: Sequence[Condition], folder: Path, tmpdir: Path) -> dict[str, str]:
    """The environment variables of these conditions; makes the folders that they name."""
    axes, made = {condition.axis for condition in conditions}, {}
    files = folder / "the user's"
    if "files" in axes:
        surroundings.hostile(files, any("PYTHONPATH" in condition.variables for condition in conditions))
    if "git" in axes:
        made["PATH"] = surroundings.path_without_git(folder)
    if "user" in axes:
        (folder / "home").mkdir()
        made |= {"HOME": str(folder / "home"), "USER": "nobody", "LOGNAME": "nobody", "TMPDIR": str(tmpdir)}
    for condition in conditions:
        made |= {key: value.format(tmpdir=tmpdir, files=files) for key, value in condition.variables.items()}
    return made


def read(name: str, returned: int | None, seconds: float, log: Path) -> Outcome:
    """What a log says, by the suite's closing line and pytest's list of failures."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    counts: Counter[str] = Counter()
    for closing in re.findall(r"^tests: (\d+ passed.*)$", text, re.MULTILINE):
        counts.update({word: int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", closing)})
    failing = dict.fromkeys(re.findall(r"^(?:FAILED|ERROR) (tests\S+)", text, re.MULTILINE))
    lacking = dict.fromkeys(re.findall(r"(\w+): unavailable, its conformance tests did not run", text))
    verdict = "green" if returned == 0 and counts["passed"] else "red" if returned is not None else "red: took too long"
    return Outcome(
        name, verdict + (f", without {' '.join(lacking)}" if lacking else ""), seconds, counts, [*failing], log
    )


def run_all(workshop: Workshop, runs: Sequence[Sequence[Condition]], blame: bool) -> list[Outcome]:
    """Every run; with blame, then each condition of a red one by itself, and none at all."""
    outcomes = []
    for conditions in runs:
        outcomes.append(run(workshop, conditions))
        alone = [[], *([condition] for condition in conditions)] if outcomes[-1].red and blame else []
        for one in alone:
            if title(one) not in {outcome.title for outcome in outcomes}:
                outcomes.append(run(workshop, one))
    return outcomes


def guilty(outcomes: Sequence[Outcome], alone: set[str]) -> Iterator[str]:
    """A line per failing test: the single conditions under which it fails, or else the runs in which it does."""
    for test in dict.fromkeys(test for outcome in outcomes for test in outcome.failing):
        names = [outcome.title for outcome in outcomes if test in outcome.failing]
        yield f"{test}: red under {', '.join([name for name in names if name in alone] or names)}"


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[Condition], list[str]]:
    own = list(itertools.takewhile(lambda argument: argument != "--", arguments))
    parser = argparse.ArgumentParser(prog="python -m tests.conditions", allow_abbrev=False)
    parser.add_argument("--list", action="store_true", help="say which conditions there are, and which can be had here")
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these conditions")
    parser.add_argument("--each", action="store_true", help="every condition by itself")
    parser.add_argument("--combine", dest="each", action="store_false", help="in as few runs as possible (the default)")
    parser.add_argument("--no-blame", action="store_true", help="do not look for the condition that made a run red")
    parser.add_argument("--plant", action="store_true", help="run tests/planted.py alone, whose tests have to be red")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="this Python's environments; default .nox")
    parser.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="keep the other environments there as well as logs"
    )
    parser.add_argument("--limit", type=float, default=60, metavar="MINUTES", help="a run that takes longer is red")
    options = parser.parse_args(own)
    names = options.only.split(",") if options.only else [condition.name for condition in CONDITIONS]
    if unknown := set(names) - {condition.name for condition in CONDITIONS}:
        parser.error(f"no condition {', '.join(sorted(unknown))}; --list names them")
    return options, [one for one in CONDITIONS if one.name in names], list(arguments[len(own) + 1 :])


def main(*arguments: str) -> int:
    options, chosen, rest = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that load and copies go
    scratch = (options.scratch or Path(tempfile.mkdtemp(prefix="conditions-"))).resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    scratch.chmod(0o755)
    reasons = {condition.name: why_not(condition, scratch) for condition in chosen}
    if options.list:
        for one in chosen:
            print(f"{one.name:20} {one.axis:8} {reasons[one.name] and 'not here: '}{reasons[one.name]}".rstrip())
        with suppress(OSError):
            scratch.rmdir()
        return 0
    (scratch / "logs").mkdir(exist_ok=True)
    environments = options.environments or Path(os.environ.get("LENET_BENCH_ENVIRONMENTS", ROOT / ".nox"))
    workshop = Workshop(scratch, environments.resolve(), rest, options.plant, options.limit)
    possible = [condition for condition in chosen if not reasons[condition.name]]
    make = [sys.executable, "-m", "nox", "-f", f"{ROOT}/noxfile.py", "-s", "environments"]
    if subprocess.run(make, env={**os.environ, "LENET_BENCH_ENVIRONMENTS": str(workshop.environments)}).returncode:
        return 2
    try:
        runs = [[condition] for condition in possible] if options.each else lay(possible)
        outcomes = run_all(workshop, runs, not options.no_blame)
    finally:
        for folder in () if options.scratch else ("nox", "environments"):
            shutil.rmtree(scratch / folder, ignore_errors=True)
    print("\n| conditions | verdict | seconds | passed / failed / skipped | failing |\n|---|---|---:|---|---|")
    for outcome in outcomes:
        print(outcome.row)
    for name in filter(reasons.get, reasons):
        print(Outcome(name, f"skipped: {reasons[name]}").row)
    print("\n".join(["", *guilty(outcomes, {title([]), *reasons}), f"logs: {scratch}/logs"]))
    return 1 if any(outcome.red for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
