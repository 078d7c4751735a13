"""Weights on disk: canonical `.npz` files that every backend reads, whichever wrote them.

One array per weight under its canonical name (see `backends/lenet.py`), and under `about` a JSON object
that says which network it is and how it came about. Whatever else an array is called, it is no weight.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backends.lenet import VARIANTS, Variant, weight_shapes
from bench import results
from bench.cases import UsageError

ABOUT = "about"
# How files begin: a zip archive, which .npz is, with members or without; and .npy.
NPZ, ONE_ARRAY = (b"PK\x03\x04", b"PK\x05\x06"), b"\x93NUMPY"


class CheckpointError(UsageError):
    """A weights file that cannot be used; exit code 2."""


@dataclass(frozen=True)
class Checkpoint:
    """`weights` by canonical name; `about` names at least the `variant`; `history` is arrays kept beside them."""

    weights: dict[str, np.ndarray]
    about: dict[str, Any]
    history: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.about["variant"]]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file whole: a kill leaves the old one or the new one. Raises ResultsError."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {ABOUT: np.array(json.dumps(checkpoint.about)), **checkpoint.history, **checkpoint.weights}
    np.savez(content, **arrays)
    results.write_bytes(path, content.getvalue())


def load(path: Path) -> Checkpoint:
    """The checkpoint of a file. Raises CheckpointError with one line for what is none, or is another network's."""
    try:
        refuse_another_kind(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except CheckpointError:
        raise
    except Exception as error:  # whatever the parsers of a zip file, its compression and its arrays come up with
        objects = "allow_pickle" in str(error)  # NumPy's advice is to load them nevertheless, which runs what they say
        damaged = "it holds Python objects, which are never loaded" if objects else "it is damaged or cut short"
        reason = getattr(error, "strerror", None) or damaged
        raise CheckpointError(f"{path}: is no weights file that can be read ({reason})") from error
    try:
        about = json.loads(str(arrays.pop(ABOUT)))
        variant = VARIANTS[about["variant"]]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: does not say which network its weights are of") from error
    weights = {}
    for name, shape in weight_shapes(variant).items():
        if name not in arrays:
            raise CheckpointError(f"{path}: has no {name}, which {variant.name} needs")
        value = np.asarray(arrays.pop(name))
        if value.shape != shape or value.dtype.kind != "f":
            raise CheckpointError(f"{path}: {name} is {value.dtype} {value.shape}, not floating-point {shape}")
        weights[name] = value.astype(value.dtype.newbyteorder("="))
        if not np.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds values that are no finite numbers")
    foreign = sorted(name for name in arrays if "." in name)
    if foreign:
        raise CheckpointError(f"{path}: {foreign[0]} is no weight of {variant.name}")
    return Checkpoint(weights, about, arrays)


def refuse_another_kind(path: Path) -> None:
    """Raise CheckpointError for what does not begin as a .npz file, without a look at the rest. Raises OSError."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path}: is no weights file that can be read (it is no file)")
    with path.open("rb") as file:
        start = file.read(len(ONE_ARRAY))
    if not start.startswith(NPZ):
        found = "it is empty" if not start else "it is a single array, .npy" if start == ONE_ARRAY else "it is no .npz"
        raise CheckpointError(f"{path}: is no weights file that can be read ({found})")


def refuse_another(path: Path, at: Checkpoint, about: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a file is not of this training, or does not say how far it has come."""
    if at.about.get("course") != about["course"] or not tells_its_progress(at):
        raise CheckpointError(f"{path}: is of another training; delete it to train that one anew")


def tells_its_progress(at: Checkpoint) -> bool:
    """Whether looks, losses and the number of parts fit together."""
    progress: Any = at.about.get("progress")
    losses: Any = at.history.get("losses")
    try:
        curve = progress["curve"]
        fits = len(curve) == progress["parts"] and len(curve) >= 1
        numbers = [float(row[name]) for row in curve for name in ("epoch", "steps", "seconds", "accuracy")]
        return fits and len(losses) == curve[-1]["steps"] and bool(np.isfinite([*numbers, *losses]).all())
    except (KeyError, TypeError, ValueError, IndexError):
        return False
