"""The layer calculator: what comes out of a stack of layers, with the formula filled in, `lenet-bench layers`.

A stack is written in order: `--conv 6@5` is six channels of 5x5, `--conv 6@5s2p1` with stride 2 and padding 1,
`--pool 2` halves, `--pool 3s2` overlaps, `--subsample 2` is trainable, `--dense 84` flattens first where it must.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backends.lenet import Conv, Dense, Layer, Pool, Prototypes, Subsample, Variant, connected
from bench import spelling
from bench.cases import UsageError

BYTES = 4  # of a float32
KINDS = ("conv", "pool", "subsample", "dense")
# As many digits as any layer has that fits into a machine.
COUNT = "[0-9]{1,6}"
SLIDING = re.compile(
    f"(?:(?P<channels>{COUNT})@)?(?P<kernel>{COUNT})(?:s(?P<stride>{COUNT}))?(?:p(?P<padding>{COUNT}))?"
)


@dataclass(frozen=True)
class Step:
    """One layer of a stack. `pairs` is how many pairs of an input and an output channel a convolution connects."""

    kind: str
    channels: int = 0
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    pairs: int | None = None
    trained: bool = True


@dataclass(frozen=True)
class Row:
    """What a layer makes: `formula` is how its size comes about, `note` what a reader might trip over."""

    kind: str
    formula: str
    channels: int
    size: int
    parameters: int
    connections: int
    multiply_adds: int
    output_bytes: int
    receptive_field: int
    note: str = ""

    @property
    def shape(self) -> str:
        return f"{self.channels}x{self.size}x{self.size}" if self.size else str(self.channels)


def parse(kind: str, text: str) -> Step:
    """`6@5s1p2` of a convolution, `2s2` of a pooling, `84` of a dense layer. Raises UsageError."""
    found = SLIDING.fullmatch(text.strip())
    if kind not in KINDS or not found:
        raise UsageError(f"--{kind} {text!r} is none of the forms 6@5s1p2 (convolution), 2s2 (pooling), 84 (dense)")
    channels, kernel, stride, padding = (found[name] for name in ("channels", "kernel", "stride", "padding"))
    if (kind == "conv") != (channels is not None):
        wanted = "channels and kernel, as 6@5" if kind == "conv" else "one number, as 2"
        raise UsageError(f"--{kind} {text!r} wants {wanted}")
    if kind == "dense":
        if stride or padding:
            raise UsageError(f"--dense {text!r} has neither stride nor padding")
        step = Step(kind, int(kernel))
    else:
        usual = kernel if kind != "conv" else 1
        step = Step(kind, int(channels or 0), int(kernel), int(stride or usual), int(padding or 0))
    if min(step.kernel, step.stride) < 1 or (kind in ("conv", "dense") and step.channels < 1):
        raise UsageError(f"--{kind} {text!r} has a zero where at least 1 is needed")
    return step


def parse_input(text: str) -> tuple[int, int]:
    """`32` or `3x32` as channels and size. Raises UsageError."""
    found = re.fullmatch(f"(?:({COUNT})x)?({COUNT})", text.strip())
    if not found or not int(found[2]) or found[1] == "0":
        raise UsageError(f"--input {text!r} is neither a size, as 32, nor channels and size, as 3x32")
    return int(found[1] or 1), int(found[2])


def parse_stack(arguments: Sequence[str]) -> list[Step]:
    """`--conv 6@5 --pool=2 ...` in order. Raises UsageError."""
    steps, words = [], [part for word in arguments for part in (word.split("=", 1) if word[:2] == "--" else [word])]
    if len(words) % 2:
        raise UsageError(f"{words[-1]} wants a value, as --conv 6@5, --pool 2 or --dense 84")
    for option, value in zip(words[::2], words[1::2]):
        if option.removeprefix("--") not in KINDS:
            raise UsageError(spelling.unknown("layer", option, [f"--{kind}" for kind in KINDS]))
        steps.append(parse(option.removeprefix("--"), value))
    return steps


def calculate(channels: int, size: int, steps: Sequence[Step]) -> list[Row]:
    """A row per layer, from an image of `channels` x `size` x `size`. Raises UsageError where a kernel does not fit."""
    start, field, jump = 0, 1, 1  # of the first unit's view of the image, and from one unit's to the next's
    rows = [Row("input", "", channels, size, 0, 0, 0, channels * size**2 * BYTES, 1)]
    for number, step in enumerate(steps, start=1):
        if step.kind == "dense":
            if rows[-1].size:  # all units of the maps before it, but for padding
                end = start + (rows[-1].size - 1) * jump + field
                field = min(end, size) - max(start, 0)
            rows.append(dense(step, rows[-1], field))
            continue
        if not rows[-1].size:
            raise UsageError(f"layer {number}, {step.kind}: there are no images any more after a dense layer")
        start, field, jump = start - step.padding * jump, field + (step.kernel - 1) * jump, jump * step.stride
        rows.append(sliding(number, step, rows[-1], field))
    return rows


def dense(step: Step, entering: Row, field: int) -> Row:
    """A dense layer; images are flattened on the way in."""
    inputs = entering.channels * max(1, entering.size) ** 2
    formula = f"{entering.channels}*{entering.size}*{entering.size} = {inputs} inputs" if entering.size else ""
    weights = inputs * step.channels
    counted = weights + step.channels
    parameters = counted if step.trained else 0
    connections = counted if step.trained else weights
    kind = step.kind if step.trained else "prototypes"
    return Row(kind, formula, step.channels, 0, parameters, connections, weights, step.channels * BYTES, field)


def sliding(number: int, step: Step, entering: Row, field: int) -> Row:
    """A convolution or pooling: floor((n + 2p - k) / s) + 1, and what it leaves out where that does not divide."""
    room = entering.size + 2 * step.padding - step.kernel
    if room < 0:
        around = f" padded by {step.padding}" if step.padding else ""
        raise UsageError(
            f"layer {number}, {step.kind}: a {step.kernel}x{step.kernel} kernel does not fit into "
            f"{entering.size}x{entering.size}{around}; make it smaller, or pad"
        )
    size, left = room // step.stride + 1, room % step.stride
    formula = f"floor(({entering.size} + 2*{step.padding} - {step.kernel}) / {step.stride}) + 1 = {size}"
    channels = step.channels or entering.channels
    area, positions = step.kernel**2, size * size
    if step.kind == "conv":
        weights = (entering.channels * channels if step.pairs is None else step.pairs) * area
        parameters, connections = weights + channels, (weights + channels) * positions
        products = weights * positions
    elif step.kind == "subsample":
        parameters, connections, products = 2 * channels, (area + 1) * channels * positions, 0
    else:
        parameters, connections, products = 0, area * channels * positions, 0
    notes = []
    if left:
        unseen = left - step.padding
        lines = "row and column" if unseen == 1 else f"{unseen} rows and columns"
        told = f"the last {lines} are seen by no window" if unseen > 0 else "only padding is seen by no window"
        notes.append(f"{room} is no multiple of {step.stride}: {told}")
    if step.stride > step.kernel and size > 1:
        notes.append(
            f"windows of {step.kernel} every {step.stride} leave {step.stride - step.kernel} between them unseen"
        )
    if step.kind != "conv" and step.stride < step.kernel:
        notes.append("windows overlap")
    return Row(
        step.kind,
        formula,
        channels,
        size,
        parameters,
        connections,
        products,
        channels * positions * BYTES,
        field,
        "; ".join(notes),
    )


def steps_of(variant: Variant) -> list[Step]:
    """A variant of this suite as a stack."""
    masks = connected(variant)

    def step(layer: Layer) -> Step | None:
        if isinstance(layer, Conv):
            mask = masks.get(f"{layer.name}.weight")
            pairs = None if mask is None else int(mask.sum())
            return Step("conv", layer.channels, layer.kernel, 1, layer.padding, pairs)
        if isinstance(layer, Pool):
            return Step("pool", 0, layer.kernel, layer.kernel)
        if isinstance(layer, Subsample):
            return Step("subsample", 0, layer.kernel, layer.kernel)
        if isinstance(layer, Dense):
            return Step("dense", layer.features)
        return Step("dense", 10, trained=False) if isinstance(layer, Prototypes) else None

    return [found for found in map(step, variant.layers) if found is not None]


def totals(rows: Sequence[Row]) -> tuple[int, int, int, int]:
    """Parameters, connections, multiply-adds and bytes of all values, of one image."""
    names = ("parameters", "connections", "multiply_adds", "output_bytes")
    first, second, third, fourth = (sum(getattr(row, name) for row in rows) for name in names)
    return first, second, third, fourth
