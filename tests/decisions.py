"""What the gate decides where the truth is known: `python -m tests.decisions PLANT TIMES [GATE OPTIONS]`.

It clones the last commit, plants something in the clone, commits that, and has the clone's own gate judge
it against the commit before, so many times; then it prints how often each case got which verdict. Run it
in the harness's environment, on a quiet machine. It takes minutes per decision and is no part of the suite.
Where several backends are named, each in its turn is the one that is slowed; the others are untouched code.

    python -m tests.decisions nothing 8
    python -m tests.decisions dense5 10 --backend numpy,torch,tensorflow,jax,mxnet
    python -m tests.decisions real 1
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.results import Verdict, read_rows

ROOT = Path(__file__).absolute().parent.parent

# Appended to a backend's file: extra time after a chunk's weight updates have landed, as a share of that chunk's.
SLOWER = """

import time as _time

_train, _wait, _calls = Trainer.train, Trainer.wait, [0]


def _timed_train(self, chunk):
    self.began = _time.perf_counter()
    return _train(self, chunk)


def _slower_wait(self, pending):
    losses = _wait(self, pending)
    now = _time.perf_counter()
    _calls[0] += 1
    until = now + ({share} if _calls[0] % {every} == 0 else 0.0) * (now - self.began)
    while _time.perf_counter() < until:
        pass
    return losses


Trainer.train, Trainer.wait = _timed_train, _slower_wait
"""
INJECTED = {"dense5": (0.05, 1), "dense10": (0.10, 1), "sparse": (1.0, 10)}

# What has happened to real code bases: (backend, mode, what is there, what takes its place).
REAL = {
    "torch keeps anomaly detection on": (
        "torch",
        "functional",
        "    torch.set_num_threads(setup.threads)\n",
        "    torch.set_num_threads(setup.threads)\n    torch.autograd.set_detect_anomaly(True)\n",
    ),
    "torch loses torch.compile": (
        "torch",
        "space_to_depth",
        "    return torch.compile(step, fullgraph=True, dynamic=False)\n",
        "    return torch.no_grad()(step)\n",
    ),
    "tensorflow loses tf.function": ("tensorflow", "function", "tf.function(self.step)", "self.step"),
    "jax re-traces every step": (
        "jax",
        "jit",
        "= self.step(self.params",
        "= jax.jit(lambda *arguments: self.step.__wrapped__(*arguments))(self.params",
    ),
    "mxnet loses hybridize": ("mxnet", "hybridize", "            self.network.hybridize()\n", "            pass\n"),
    "numpy computes in float64": ("numpy", "im2col", "images.astype(self.dtype)", "images.astype(np.float64)"),
}


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=decisions", "-c", "user.email=none", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def decide(plant: str, backend: str, number: int, options: list[str]) -> list[Verdict]:
    """One gate on a clone with that planted in that backend; its verdicts."""
    with tempfile.TemporaryDirectory(prefix="decisions-") as scratch:
        clone = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        if plant in INJECTED:
            share, every = INJECTED[plant]
            file = clone / "backends" / f"lenet_{backend}.py"
            file.write_text(file.read_text() + SLOWER.format(share=share, every=every))
        elif plant in REAL:
            _, _, there, instead = REAL[plant]
            file = clone / "backends" / f"lenet_{backend}.py"
            text = file.read_text()
            if there not in text:
                raise SystemExit(f"{file.name} has no {there!r} any more: {plant} cannot be planted")
            file.write_text(text.replace(there, instead))
        git(clone, "commit", "-q", "--all", "--allow-empty", "-m", plant)
        environment = {"LENET_BENCH_ENVIRONMENTS": str(ROOT / ".nox")}
        command = [
            sys.executable,
            str(clone / "bench" / "__main__.py"),
            "gate",
            "--base",
            "HEAD~1",
            "--seed",
            str(number),
            *options,
        ]
        done = subprocess.run(command, cwd=clone, env={**os.environ, **environment}, capture_output=True, text=True)
        runs = list((clone / "results").glob("*-gate"))
        if not runs:
            raise SystemExit(done.stderr or done.stdout)
        return read_rows(runs[0], Verdict)


def main(plant: str, times: str, *options: str) -> None:
    tally: dict[tuple[str, str], collections.Counter[str]] = {}
    named = next((options[i + 1].split(",") for i, one in enumerate(options[:-1]) if one == "--backend"), [])
    if plant in INJECTED and not named:
        raise SystemExit(f"{plant}: name the backends that take turns at being slowed, with --backend")
    plants = [one for one in REAL if not named or REAL[one][0] in named] if plant == "real" else [plant]
    for one in plants:
        for number in range(int(times)):
            began = time.monotonic()
            backend, own = named[number % len(named)] if plant in INJECTED else "", list(options)
            if one in REAL:
                backend, mode, *_ = REAL[one]
                own = ["--backend", backend, "--mode", mode]
            for verdict in decide(one, backend, number, own):
                what = one if verdict.case.startswith(f"{backend}-") else "nothing"
                tally.setdefault((what, verdict.case), collections.Counter())[verdict.verdict] += 1
                looks = f"{verdict.ratio or 0:.4f} bound {verdict.bound or 0:.4f} sd {verdict.pair_sd or 0:.2%}"
                told = f"{verdict.verdict}, {looks}, {verdict.passes}+{verdict.second_passes} passes"
                print(f"{one} {number + 1}: {what} in {verdict.case}: {told}; {verdict.reason}", flush=True)
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    for (what, case), words in sorted(tally.items()):
        print(f"{what} | {case} | {', '.join(f'{count} {word}' for word, count in words.items())}")
    for what in sorted({what for what, _ in tally}):
        total = sum((words for (own, _), words in tally.items() if own == what), collections.Counter())
        print(f"{what}: {total.total()} decisions: {', '.join(f'{count} {word}' for word, count in total.items())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
