"""A sixth backend in a package of its own, as a third party would write one, and what can go wrong with it.

Each mode is the NumPy network with one fault. It is installed by nothing but a folder on the path of
one interpreter, a script in front of the real one; the harness finds it through its entry point.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path

MODES = (
    "good",
    "crash",
    "hang",
    "killed",
    "garbage",
    "wrong",
    "diverges",
    "elsewhere",
    "dies_late",
    "mumbles",
    "noisy_import",
    "not_eight",
    "blind",
    "tires",
)

TIRED_SECONDS = 0.3

BACKEND = """
import os, signal, sys, time
import numpy as np
from backends import Entry, Mode, lenet_numpy
from backends.interface import Setup, Unsupported

version = "1.0"
entry = Entry("fake", "fake_backend", "fake_framework", tuple(Mode(m, "tutorial", m) for m in {modes!r}))
switches = lambda: {{"fake": "yes"}}
peak_device_bytes = lambda: None


class Trainer:
    def __init__(self, own, mode):
        self.own, self.mode, self.calls, self.asked = own, mode, 0, 0
        self.stages, self.weights = own.stages, own.weights

    def put(self, images, labels):
        if self.mode == "not_eight" and images.shape[1] == 8:
            raise MemoryError("eight are too many")
        self.size = images.shape[1]
        return self.own.put(images[..., ::-1, :] if self.mode == "blind" else images, labels)

    def train(self, chunk):
        self.calls += 1
        return self.own.train(chunk)

    def wait(self, pending):
        if self.mode == "crash":
            print("a last cry", file=sys.stderr)
            sys.stderr.flush()
            os._exit(7)
        if self.mode == "tires" and self.size == 8:
            time.sleep({tired} * len(pending))
        if self.mode == "mumbles":
            raise ValueError("cannot open b\\udcff\\x1b[31m")
        if self.mode == "hang":
            open(os.path.join(os.path.dirname(__file__), "hangs"), "w").close()
            time.sleep(3600)
        if self.mode == "killed" or (self.mode == "dies_late" and not self.asked and self.calls > 3):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "diverges" and self.calls > 5:
            return np.full(len(pending), np.nan)
        return self.own.wait(pending)

    def device(self):
        self.asked += 1  # by runs only: after the proof, and after the timed rounds, however few those were
        if self.mode == "dies_late" and self.asked > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "cuda:0" if self.mode == "elsewhere" else "cpu"


def build(variant, weights, setup):
    if setup.device != "cpu" or setup.mode not in {modes!r} or setup.precision not in ("float32", "float64"):
        part = "device" if setup.device != "cpu" else "mode" if setup.mode not in {modes!r} else "precision"
        raise Unsupported(part, "not that; run with --device cpu")
    if setup.mode == "garbage":
        from bench.turns import Turns  # whose first connection has been welcomed: this one takes its place
        turns = Turns.connect(f"fake-garbage-{{variant.name}}-cpu-{{setup.precision}}-b8-t1")
        turns.connection.send_bytes(b"\\xff garbage")
        time.sleep(3600)
    rate = setup.learning_rate * (2 if setup.mode == "wrong" else 1)
    inner = Setup("im2col", precision=setup.precision, learning_rate=rate)
    return Trainer(lenet_numpy.build(variant, weights, inner), setup.mode)
"""


def install(folder: Path) -> Path:
    """The package in that folder; the interpreter to name in `--python fake=PATH`."""
    (folder / "fake_framework.py").write_text("")
    (folder / "fake_backend.py").write_text(BACKEND.format(modes=MODES, tired=TIRED_SECONDS))
    metadata = folder / "fake_backend-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-backend\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[lenet_bench.backends]\nfake = fake_backend:entry\n")
    python, own = folder / "python", shlex.quote(str(folder))
    script = f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH{os.pathsep}"{own} exec {shlex.quote(sys.executable)} "$@"\n'
    python.write_bytes(os.fsencode(script))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python
