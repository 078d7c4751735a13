"""What weights look like and what they make of chosen images: `lenet-bench inspect`, and in the page of a training.

Stages are worked out by the float64 reference, or asked of a framework in its own environment.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.lenet import CLASSES, VARIANTS, initial_weights, stage_shapes
from bench import checkpoints, data, environments, pictures, spelling, train
from bench.cases import Case, Selection, UsageError, expand, impossible
from bench.checkpoints import Checkpoint
from bench.options import known_backends, refuse_unused
from bench.pictures import Picture
from bench.reference import forward
from bench.selfcheck import cases as representative
from bench.training import Images

NOISE = "noise"
# A digit, another class, and what is no digit at all.
USUAL = ("7", "3", NOISE)


@dataclass(frozen=True)
class Chosen:
    """An image (1, S, S) to look at; `name` is fit for a file."""

    name: str
    title: str
    image: np.ndarray


def untrained(variant: str) -> Checkpoint:
    """The weights from which every benchmark starts. Raises UsageError."""
    if variant not in VARIANTS:
        raise UsageError(spelling.unknown("variant", variant, VARIANTS))
    return Checkpoint(initial_weights(VARIANTS[variant]), {"variant": variant})


def data_of(at: Checkpoint) -> tuple[str, str]:
    """The data set and the normalisation that weights were trained with; the digits at hand where none is named."""
    course = at.about.get("course")
    course = course if isinstance(course, dict) else {}
    name, normalisation = course.get("data"), course.get("normalisation")
    return (name if name in data.NAMES else "digits", normalisation if isinstance(normalisation, str) else "unit")


def choose(word: str, images: Images, name: str) -> Chosen:
    """`7`: the first test image of that class; `#12`: the test image of that number; `noise`. Raises UsageError."""
    number = re.fullmatch(r"#([0-9]{1,9})", word)
    if word == NOISE:
        shape = images.test_images[0].shape
        low, high = float(images.test_images.min()), float(images.test_images.max())
        noise = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
        return Chosen(NOISE, "uniform noise", noise)
    if number:
        index = int(number[1])
        if index >= len(images.test_labels):
            raise UsageError(f"--image {word!r}: {name} has {len(images.test_labels)} test images, the first is #0")
    elif word in map(str, range(CLASSES)):
        own = np.flatnonzero(images.test_labels == int(word))
        if not len(own):
            raise UsageError(f"--image {word!r}: no test image of {name} is of that class")
        index = int(own[0])
    else:
        raise UsageError(f"--image {word!r} is neither a class from 0 to 9, nor #12 for a test image, nor {NOISE}")
    label = int(images.test_labels[index])
    return Chosen(
        word.replace("#", "image-"), f"test image {index} of {name}, labelled {label}", images.test_images[index]
    )


def by_reference(at: Checkpoint, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every stage's values (M, ...) in float64, for (M, 1, S, S) images."""
    with np.errstate(all="ignore"):
        weights = {name: value.astype(np.float64) for name, value in at.weights.items()}
        stages = forward(at.variant, weights, images.astype(np.float64))
    if not all(np.isfinite(values).all() for values in stages.values()):
        raise UsageError("these weights give values that are no numbers: there is nothing to draw")
    return stages


@dataclass(frozen=True)
class Asked:
    """A framework's case and the interpreter that it runs in."""

    case: Case
    python: Path


def ask(
    at: Checkpoint,
    backend: str,
    mode: str | None,
    device: str,
    interpreters: dict[str, Path],
    with_pins: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Asked:
    """Who is to work the stages out. Raises UsageError where there is none, or it cannot."""
    registry = known_backends(interpreters)
    modes = (mode,) if mode else ()
    selection = Selection((backend,), modes, (at.variant.name,), (device,), lanes=() if mode else ("tutorial",))
    case = representative(expand(selection, registry), modes)[0]
    refuse_unused(interpreters, [case])
    interpreters = environments.ready([case], registry, interpreters, with_pins, say)
    here = environments.find(registry[case.backend], device, interpreters)
    if reason := impossible(case, registry[case.backend]) or here.reason:
        raise UsageError(f"{backend}: {reason}")
    return Asked(case, here.python)


def by_backend(at: Checkpoint, images: np.ndarray, asked: Asked, patience: float) -> dict[str, np.ndarray]:
    """The same as a framework in that interpreter works it out. Raises UsageError with its words where it cannot."""
    case = asked.case
    with tempfile.TemporaryDirectory(prefix="lenet-bench-") as scratch:
        weights, shown, stages = (Path(scratch) / name for name in ("weights.npz", "images.npy", "stages.npz"))
        checkpoints.save(weights, at)
        np.save(shown, images)
        order = {"case": vars(case), "weights": str(weights), "images": str(shown), "stages": str(stages)}
        end = train.converse("look", asked.python, case, order, patience)
        if end.status != "ok":
            raise UsageError(f"{case.backend} {case.mode}: {end.status}: {end.reason}")
        try:
            with np.load(stages) as file:
                found = {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{case.backend} {case.mode}: its stages cannot be read ({type(error).__name__})"
            ) from error
    for name, shape in stage_shapes(at.variant).items():
        if name not in found or found[name].shape != (len(images), *shape) or found[name].dtype.kind != "f":
            told = f"is {found[name].dtype} {found[name].shape}" if name in found else "is not there"
            raise UsageError(f"{case.backend} {case.mode}: its stage {name} {told}, not {(len(images), *shape)}")
    return found


def largest_error(stages: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """How far any stage is off, relative to the largest value of that stage."""
    return max(float(np.abs(stages[name] - due).max() / (np.abs(due).max() or 1)) for name, due in expected.items())


def drawn(at: Checkpoint, chosen: Sequence[Chosen], stages: Mapping[str, np.ndarray]) -> list[Picture]:
    """Filters, receptive fields over the first image, and every image's activations."""
    found = pictures.filters(at.variant, at.weights)
    if chosen:
        found.append(pictures.receptive_fields(at.variant, chosen[0].image))
    for number, one in enumerate(chosen):
        own = {name: values[number] for name, values in stages.items()}
        found.append(pictures.activations(at.variant, own, one.name, one.title))
    return found


def answer(at: Checkpoint, stages: Mapping[str, np.ndarray], number: int) -> str:
    """The two digits that an image looks most like to the network, with their values in the last stage."""
    values = np.asarray(stages[at.variant.layers[-1].name][number], dtype=float)
    first, second = np.argsort(-values, kind="stable")[:2]
    return f"most like a {first} ({values[first]:.4g}), then a {second} ({values[second]:.4g})"


def of_folder(folder: Path) -> tuple[list[Picture], list[str]]:
    """The pictures of the first weights that a training run kept and that can be read, and lines on what they are of.

    Nothing where none were kept. Activations only where the data set lies at hand: a page downloads nothing.
    """
    kept = sorted(folder.glob("weights/*/best.npz"))
    told = []
    for path in kept:
        try:
            at = checkpoints.load(path)
        except UsageError as error:
            told.append(f"Left out: {error}.")
            continue
        told.append(f"Weights: {path.relative_to(folder)}, one of {len(kept)}; the command inspect draws the others.")
        try:
            chosen = at_hand(at)
            return drawn(at, chosen, by_reference(at, np.stack([one.image for one in chosen]))), told
        except UsageError as error:
            told.append(f"There are no activations: {error}.")
            return drawn(at, [], {}), told
    return [], told


def at_hand(at: Checkpoint) -> list[Chosen]:
    """The usual images of the data set that weights were trained on. Raises UsageError where it is not here."""
    name, normalisation = data_of(at)
    if not data.at_hand(name):
        raise UsageError(f"set {data.DATA_DIR_VARIABLE} to where {name} is")
    images = train.load_images(name, at.variant.name, normalisation, None)
    return [choose(word, images, data.called(name, images.verified)) for word in USUAL]
