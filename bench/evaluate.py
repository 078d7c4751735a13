"""What saved weights make of the test images, in several frameworks: `lenet-bench evaluate`.

The reference (`reference.py`) works out the same in float64. A framework may differ from it only where
the two likeliest digits of an image are as close to each other as float32 can be off.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends import Entry
from bench import environments
from bench.cases import Case, UsageError, impossible
from bench.checkpoints import Checkpoint
from bench.equivalence import TOLERANCES
from bench.reference import forward
from bench.train import converse
from bench.training import TRIED_AT_ONCE, Images

# How far logits may be off, relative to the largest. Where the margin between an image's two largest is no more than
# that, it is a tie. After training, logits are larger than where a proof begins, and so is what rounding makes of them.
TRAINED = 10.0
# How far a weight's float32 may be off, relative to the largest of its tensor: ten roundings.
FITS = 10 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Evaluation:
    """One framework's answer: how many images it gets right, and where it differs from the reference."""

    case: Case
    version: str
    status: str
    reason: str
    right: int = 0
    images: int = 0
    differ: int = 0
    ties: int = 0
    worst: float = 0.0

    @property
    def held(self) -> bool:
        return self.status == "ok" and self.differ == 0 and self.worst <= tolerance(self.case)


def tolerance(case: Case) -> float:
    return TRAINED * TOLERANCES[case.precision].stages


def reference_logits(at: Checkpoint, images: np.ndarray) -> np.ndarray:
    """(M, 10) in float64."""
    weights = {name: value.astype(np.float64) for name, value in at.weights.items()}
    parts = range(0, len(images), TRIED_AT_ONCE)
    last = at.variant.layers[-1].name
    return np.concatenate(
        [forward(at.variant, weights, images[i : i + TRIED_AT_ONCE].astype(np.float64))[last] for i in parts]
    )


def compare(case: Case, version: str, logits: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Evaluation:
    """One framework's logits beside the reference's."""
    if logits.shape != expected.shape or logits.dtype.kind != "f":
        found, due = (f"{one.dtype} {one.shape}" for one in (logits, expected))
        return Evaluation(case, version, "failed", f"its logits are {found}, not {due}")
    if not np.isfinite(logits).all():
        return Evaluation(case, version, "failed", f"its logits are no numbers in {case.precision}")
    scale = np.abs(expected).max() or 1.0
    ordered = np.sort(expected, 1)
    # Either of two logits may be off by the tolerance.
    tie = ordered[:, -1] - ordered[:, -2] <= 2 * tolerance(case) * scale
    other = logits.argmax(1) != expected.argmax(1)
    return Evaluation(
        case,
        version,
        "ok",
        "",
        right=int((logits.argmax(1) == labels).sum()),
        images=len(labels),
        differ=int((other & ~tie).sum()),
        ties=int((other & tie).sum()),
        worst=float(np.abs(logits - expected).max() / scale),
    )


def refuse_what_float32_does_not_hold(weights: Path, at: Checkpoint) -> None:
    """Raise UsageError where weights are so small or large that a framework would get others than the reference."""
    for name, value in at.weights.items():
        exact = value.astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            off = np.abs(exact.astype(np.float32) - exact).max()
        if not off <= FITS * np.abs(exact).max():
            raise UsageError(f"{weights}: {name} has values that float32 does not hold; no framework can be asked")


def evaluate(
    weights: Path,
    at: Checkpoint,
    cases: Sequence[Case],
    images: Images,
    registry: Mapping[str, Entry],
    interpreters: Mapping[str, Path],
    patience: float,
) -> list[Evaluation]:
    """Every case's answer to the test images. Raises UsageError for weights or logits that are no figures there."""
    if any(case.precision != "float64" for case in cases):
        refuse_what_float32_does_not_hold(weights, at)
    expected = reference_logits(at, images.test_images)
    if not np.isfinite(expected).all():
        raise UsageError(f"{weights}: these weights give logits that are no numbers")
    found = []
    with tempfile.TemporaryDirectory(prefix="lenet-bench-data-") as scratch:
        folder = Path(scratch)
        try:
            np.save(folder / "test_images.npy", images.test_images)
        except OSError as error:
            raise UsageError(f"{scratch}: cannot hold the test images ({error}); set TMPDIR") from error
        for case in cases:
            entry = registry[case.backend]
            here = environments.find(entry, case.device, interpreters)
            if reason := impossible(case, entry) or here.reason:
                found.append(Evaluation(case, "", "unavailable", reason))
                continue
            order = {"case": vars(case), "weights": str(weights.absolute()), "data": scratch, "folder": scratch}
            end = converse("predict", here.python, case, order, patience)
            if end.status != "ok":
                found.append(Evaluation(case, "", end.status, end.reason))
                continue
            try:
                logits = np.load(folder / f"{case.backend}-{case.mode}.npy")
            except (OSError, ValueError) as error:
                found.append(Evaluation(case, "", "failed", f"its logits cannot be read ({type(error).__name__})"))
                continue
            found.append(compare(case, end.said["version"], logits, expected, images.test_labels))
    return found
