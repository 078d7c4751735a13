"""Training in earnest, inside a backend's own environment: `python -m bench.training COURSE`.

The course is a JSON file that the harness wrote. The same seed gives every framework the same initial
weights and the same batches in the same order. After every part of an epoch the network is tried on
the test images and `last.npz` is replaced whole: weights, curve and losses so far. A training that was
killed goes on from there, on a CPU to the same bits as without the kill. Where the learning rate changes, a
new trainer is built from the old one's weights.

What is said on standard output is for the harness, a JSON object per line; what frameworks print
there goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from backends.interface import Trainer, Unsupported
from backends.lenet import VARIANTS, Variant, drawn_weights
from bench import checkpoints, ground, spelling
from bench.cases import Case, UsageError
from bench.checkpoints import Checkpoint
from bench.reference import cross_entropy
from bench.subject import MOST_CHUNK_BYTES, Missing, load, peak_rss_bytes
from bench.turns import die_with_parent

SCHEDULES = ("constant", "step", "cosine")
NORMALISATIONS = ("unit", "standard", "paper")
# Steps between two looks at the losses, and images at a time where nothing is trained.
MOST_STEPS, TRIED_AT_ONCE = 64, 500
LAST, BEST = "last.npz", "best.npz"
ARRAYS = ("images", "labels", "test_images", "test_labels")
WAY_OUT = "try a lower --learning-rate"


class Diverged(Exception):
    """A training whose losses or weights are no numbers any more."""


@dataclass(frozen=True)
class Course:
    """One training: what, how long, how fast. An epoch is interrupted `parts` times for a look at the test images.

    Epochs leave out the images that do not fill a last batch, others in every epoch.
    """

    case: Case
    data: str
    seed: int
    epochs: int
    learning_rate: float
    schedule: str = "constant"
    initialisation: str = "xavier"
    normalisation: str = "unit"
    parts: int = 1

    @property
    def id(self) -> str:
        return f"{self.case.id}-s{self.seed}"

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, the first being 0.

        `step` divides it by 10 at half and again at three quarters of the epochs; `cosine` comes down to
        zero in half a cosine (Loshchilov & Hutter 2017, without restarts).
        """
        done = epoch / self.epochs
        if self.schedule == "step":
            return self.learning_rate * 0.1 ** ((done >= 0.5) + (done >= 0.75))
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate

    def about(self) -> dict[str, Any]:
        """What a checkpoint says of its training."""
        return {"variant": self.case.variant, "course": asdict(self)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Course:
        """The inverse of `asdict`. Raises KeyError or TypeError for what is no course."""
        return cls(**{**fields, "case": Case(**fields["case"])})


@dataclass(frozen=True)
class Images:
    """The splits of a data set, normalised, as the harness prepared them: images (M, 1, S, S) float32, labels (M,).

    `verified` is for the harness: whether they are known to be the data set of their name.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    verified: bool = True

    @classmethod
    def read(cls, folder: Path) -> Images:
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS))

    def write(self, folder: Path) -> None:
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))


def normalised(images: np.ndarray, kind: str, of: np.ndarray) -> np.ndarray:
    """float32 images between 0 and 1 on another scale.

    `unit` leaves them. `standard` has mean 0 and standard deviation 1 over the training images `of`. `paper`
    has -0.1 for the background and 1.175 for the foreground (LeCun et al. 1998, II.A).
    """
    if kind == "standard":
        return ((images - of.mean(dtype=np.float64)) / of.std(dtype=np.float64)).astype(np.float32)
    if kind == "paper":
        return (images * np.float32(1.275) - np.float32(0.1)).astype(np.float32)
    if kind != "unit":
        raise UsageError(spelling.unknown("normalisation", str(kind), NORMALISATIONS))
    return images


def order_of(course: Course, epoch: int, count: int) -> np.ndarray:
    """Which image stands where in an epoch: (steps, N) rows, without those that fill no batch."""
    rows = np.random.default_rng([course.seed, epoch]).permutation(count)
    steps = count // course.case.batch_size
    return rows[: steps * course.case.batch_size].reshape(steps, course.case.batch_size)


def predicted(trainer: Trainer, variant: Variant, images: np.ndarray) -> np.ndarray:
    """The logits (M, 10) of (M, 1, S, S) images."""
    last, found = variant.layers[-1].name, []
    for start in range(0, len(images), TRIED_AT_ONCE):
        some = np.ascontiguousarray(images[start : start + TRIED_AT_ONCE])
        found.append(trainer.stages(trainer.put(some[None], np.zeros((1, len(some)), np.int64)))[last])
    return np.concatenate(found)


def begin(course: Course) -> Checkpoint:
    """Where every framework starts."""
    weights = drawn_weights(VARIANTS[course.case.variant], course.initialisation, course.seed)
    progress = {"parts": 0, "seconds": 0.0, "curve": []}
    return Checkpoint(weights, {**course.about(), "progress": progress}, {"losses": np.zeros(0)})


def train(
    course: Course, module: Any, images: Images, folder: Path, tell: Callable[[dict[str, Any]], None]
) -> Checkpoint:
    """Follow the course to its end, from `last.npz` where it is. Raises Diverged, Unsupported or CheckpointError."""
    variant, last = VARIANTS[course.case.variant], folder / LAST
    at = begin(course)
    if last.exists():
        at = checkpoints.load(last)
        checkpoints.refuse_another(last, at, course.about())
    trainer, trained_at = None, math.nan
    for part in range(at.about["progress"]["parts"], course.epochs * course.parts):
        epoch, piece = divmod(part, course.parts)
        if trainer is None or course.rate(epoch) != trained_at:
            trained_at = course.rate(epoch)
            weights = at.weights if trainer is None else trainer.weights()
            trainer = module.build(variant, weights, replace(course.case.setup(), learning_rate=trained_at))
        order = order_of(course, epoch, len(images.labels))
        ends = [len(order) * one // course.parts for one in range(course.parts + 1)]
        losses, seconds = [], 0.0
        for rows in chunks(order[ends[piece] : ends[piece + 1]], images.images[0].nbytes):
            chunk = trainer.put(images.images[rows], images.labels[rows])
            started = time.perf_counter()
            losses.append(trainer.wait(trainer.train(chunk)))
            seconds += time.perf_counter() - started
            if not np.isfinite(losses[-1]).all():
                raise Diverged(f"the loss is {losses[-1][-1]} in epoch {epoch + 1}; {WAY_OUT}")
            done = epoch * len(order) + ends[piece] + sum(map(len, losses))
            all_steps = course.epochs * len(order)
            tell({"says": "step", "done": done, "steps": all_steps, "loss": float(losses[-1].mean())})
        ran = {"version": module.version, "switches": module.switches(), "peak_rss_bytes": peak_rss_bytes()}
        at = after_part(at, course, trainer, images, np.concatenate(losses), seconds, ran)
        curve = at.about["progress"]["curve"]
        if curve[-1]["accuracy"] > max((one["accuracy"] for one in curve[:-1]), default=-1):
            checkpoints.save(folder / BEST, replace(at, history={}))
        checkpoints.save(last, at)
        tell({"says": "tried", "accuracy": curve[-1]["accuracy"]})
    return at


def after_part(
    at: Checkpoint,
    course: Course,
    trainer: Trainer,
    images: Images,
    losses: np.ndarray,
    seconds: float,
    ran: dict[str, Any],
) -> Checkpoint:
    """The checkpoint after another part of an epoch, and a look at the test images; `ran` says what trained it."""
    variant = VARIANTS[course.case.variant]
    logits, weights = predicted(trainer, variant, images.test_images), trainer.weights()
    if not all(np.isfinite(values).all() for values in (logits, *weights.values())):
        raise Diverged(f"its weights are no numbers after {len(losses)} more steps; {WAY_OUT}")
    was = at.about["progress"]
    seconds += was["seconds"]
    row = {
        "epoch": (was["parts"] + 1) / course.parts,
        "steps": len(at.history["losses"]) + len(losses),
        "learning_rate": course.rate(was["parts"] // course.parts),
        "seconds": seconds,
        "train_loss": float(losses.mean()),
        "test_loss": cross_entropy(logits.astype(np.float64), images.test_labels, variant.rubbish)[0],
        "accuracy": float((logits.argmax(1) == images.test_labels).mean()),
    }
    progress = {"parts": was["parts"] + 1, "seconds": seconds, "curve": [*was["curve"], row], **ran}
    history = {"losses": np.concatenate([at.history["losses"], losses.astype(np.float64)])}
    return Checkpoint(weights, {**at.about, "progress": progress}, history)


def chunks(order: np.ndarray, image_bytes: int) -> Iterator[np.ndarray]:
    """(steps, N) rows in pieces of nearly one size, which fit into memory: frameworks compile for every size anew."""
    fitting = max(1, min(MOST_STEPS, MOST_CHUNK_BYTES // (image_bytes * order.shape[1])))
    return iter(np.array_split(order, math.ceil(len(order) / fitting)))


def follow(path: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    """A training, as the harness orders it."""
    order = json.loads(path.read_text(encoding="utf-8"))
    course = Course.from_json(order["course"])
    ground.pin(set(order["cpus"]))
    train(course, load(course.case.backend), Images.read(Path(order["data"])), Path(order["folder"]), tell)
    tell({"says": "ended"})


def restored(order: dict[str, Any]) -> tuple[Any, Variant, Trainer]:
    """The backend's module, and a trainer with the weights of a checkpoint."""
    case = Case(**order["case"])
    ground.pin(set(order["cpus"]))
    module = load(case.backend)
    at = checkpoints.load(Path(order["weights"]))
    return module, at.variant, module.build(at.variant, at.weights, case.setup())


def predict(path: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    """The logits of the test images, into the folder, by the weights of a checkpoint."""
    order = json.loads(path.read_text(encoding="utf-8"))
    module, variant, trainer = restored(order)
    logits = predicted(trainer, variant, np.load(Path(order["data"]) / "test_images.npy", mmap_mode="r"))
    np.save(Path(order["folder"]) / f"{order['case']['backend']}-{order['case']['mode']}.npy", logits)
    tell({"says": "ended", "version": module.version})


def look(path: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    """Every stage's values for a few images, into a file, by the weights of a checkpoint."""
    order = json.loads(path.read_text(encoding="utf-8"))
    module, _, trainer = restored(order)
    images = np.load(order["images"])
    stages: Any = trainer.stages(trainer.put(images[None], np.zeros((1, len(images)), np.int64)))
    np.savez(order["stages"], **stages)
    tell({"says": "ended", "version": module.version})


def channel() -> TextIO:
    """Standard output as the harness reads it; from here on, whatever else is printed goes to standard error."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return own


def main(verb: str, path: str) -> None:
    die_with_parent()
    lines = channel()

    def tell(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=lines, flush=True)

    try:
        {"train": follow, "predict": predict, "look": look}[verb](Path(path), tell)
    except (Missing, Unsupported) as error:
        tell({"says": "failed", "status": "unavailable", "reason": str(error)})
    except (Diverged, UsageError) as error:
        tell({"says": "failed", "status": "failed", "reason": str(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
