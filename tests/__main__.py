"""The whole suite: `nox -s tests` starts this, with a Python that needs nothing installed.

The harness's tests run in its environment, in some parts, the conformance tests in each backend's: one process per CPU,
until nothing is left. `--fast` leaves out what takes long and needs frameworks; all other arguments are pytest's.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent
sys.path[:] = [one for one in sys.path if Path(one) != ROOT / "tests"]
runpy.run_path(str(ROOT / "bench" / "__main__.py"))["take_packages_from"](str(ROOT))
from bench import installing, pins  # noqa: E402

# Nothing of the user's comes before the standard library and what is installed, nor a conftest.py above the tests.
PYTEST = f"import sys; sys.path[0:1] = []; sys.path.append({str(ROOT)!r}); import pytest; sys.exit(pytest.main())"
OPTIONS = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "--confcutdir", str(ROOT / "tests"))
NOTHING_SELECTED = 5
TAKE_A_VALUE = ("-k", "-m", "-p", "-c", "-n", "--deselect", "--ignore")
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")
# Those first that take long, so that no CPU waits for the last of them; the harness's are in parts for the same reason.
SLOWEST_FIRST = ("torch", "jax", "tensorflow")
PARTS = 6
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: list[str]) -> int:
    jobs = jobs_for(arguments)
    narrowed = bool(arguments)
    with ThreadPoolExecutor(CPUS) as pool:
        asked = [pool.submit(run, name, job, narrowed) for name, job in jobs]
        ended = [one.result() for one in asked]
    sums = {word: sum(counts.get(word, 0) for counts, _ in ended) for word in ("passed", "failed", "error", "skipped")}
    print(f"tests: {sums['passed']} passed, {sums['failed'] + sums['error']} failed, {sums['skipped']} skipped")
    return 0 if all(held for _, held in ended) and any(sums.values()) else 1


def jobs_for(arguments: list[str]) -> list[tuple[str, list[str]]]:
    """Environments, each with what pytest is told there: all of them, or those that the files named are for."""
    files = [one for one in arguments if one.startswith("tests/") and (ROOT / one.partition("::")[0]).exists()]
    files = [one for one in files if arguments[arguments.index(one) - 1] not in TAKE_A_VALUE]
    conformance = [one for one in files if "conformance" in one]
    others = [one for one in arguments if one not in files and one != "--fast"]
    narrow = bool(files) or "--fast" in arguments
    harness: list[tuple[str, list[str]]] = []
    if narrow and len(conformance) < len(files or ["tests"]):
        own = [one for one in files if one not in conformance] or ["tests", "--ignore=tests/conformance"]
        quick = ["-m", "not slow"] if "--fast" in arguments else []
        harness = [(pins.HARNESS, [*own, f"--numprocesses={CPUS}", "--dist=loadfile", *quick, *others])]
    if not narrow:
        every = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py"))
        harness = [(pins.HARNESS, [*every[part::PARTS], *others]) for part in range(min(PARTS, len(every)))]
    backends: list[tuple[str, list[str]]] = []
    if conformance or not narrow:
        told = [*(conformance or ["tests/conformance"]), *others]
        backends = [(name, [*told, f"--backend={name}"]) for name in pins.ALL[1:]]
    first = [job for job in backends if job[0] in SLOWEST_FIRST]
    return [*first, *harness, *(job for job in backends if job not in first)]


def run(name: str, arguments: list[str], narrowed: bool) -> tuple[dict[str, int], bool]:
    """One pytest in one environment: its counts, and whether it held. Prints all it said where narrowed or wrong."""
    folder = installing.environments_folder() / name
    note = folder / installing.REASON_FILE
    if note.is_file():
        tell(f"{name}: unavailable, its conformance tests did not run: {note.read_text('utf-8').strip()}")
        return {}, True
    if not installing.interpreter(folder).is_file():
        tell(f"{name}: unavailable, its conformance tests did not run: there is no {installing.interpreter(folder)}")
        return {}, name != pins.HARNESS
    tell(f"{name}: its tests begin")
    began = time.monotonic()
    command = [str(installing.interpreter(folder)), "-c", PYTEST, *OPTIONS, *arguments]
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST_"))}
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode("utf-8", "backslashreplace").strip()
    held = done.returncode == 0 or (narrowed and done.returncode == NOTHING_SELECTED)
    closing = said.splitlines()[-1] if said else f"exit status {done.returncode}"
    told = f"{name}: {closing.strip('= ')}, {time.monotonic() - began:.0f} s with its start"
    tell(f"\n{said}\n{told}\n" if narrowed or not held else told)
    return {word: int(count) for count, word in COUNTS.findall(closing)}, held


def tell(text: str) -> None:
    """In one piece: several threads print."""
    print(f"{text}\n", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
