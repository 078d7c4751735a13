"""The table of contents: every backend with its modes, devices and precisions. Imports no framework.

The harness reads this table in an environment where no framework is installed; a backend's module
is imported only by `load`, in that backend's own environment. A package of a third party adds a row
through the entry-point group `lenet_bench.backends`, which names an `Entry`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from types import ModuleType

ENTRY_POINTS = "lenet_bench.backends"
LANES = ("tutorial", "expert")
# Networks that are no LeNet-5 as tutorials write it: one mode of each backend has them.
NEIGHBOURS = ("lecun1998", "mlp", "cnn")


@dataclass(frozen=True)
class Mode:
    """A way a framework runs, in that framework's own word, and the lane it is in.

    `tutorial` is how its documentation and textbooks write it, `expert` what makes it faster.
    `slow` is one whose step takes so long that a gate, or a run with `--vary`, measures it only where it is named.
    `call_steps` is of one whose call costs much beside its steps: it is timed that many steps at a time.
    `also` are variants that it defines beside those of all modes of its backend; `devices` are those that it
    exists on, where these are not all of its backend's.
    """

    name: str
    lane: str
    summary: str
    slow: bool = False
    call_steps: int = 1
    also: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    `framework` is the module whose absence makes the backend unavailable; `layout` is how it keeps
    images, NCHW or NHWC; `precisions` are those of any of its devices.
    """

    name: str
    module: str
    framework: str
    modes: tuple[Mode, ...]
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("float32", "float64")
    variants: tuple[str, ...] = ("lenet5", "tanh", "modern")
    layout: str = "NCHW"

    def mode(self, name: str) -> Mode:
        """The mode of that name. Raises KeyError where there is none."""
        return {mode.name: mode for mode in self.modes}[name]

    def defines(self, mode: str, variant: str) -> bool:
        return variant in (*self.variants, *self.mode(mode).also)

    def environment(self, device: str) -> str:
        """What its environment for a device is called, and its requirement file."""
        return self.name if device == "cpu" else f"{self.name}-{device}"


BUILT_IN = (
    Entry(
        "numpy",
        "backends.lenet_numpy",
        "numpy",
        (
            Mode(
                "loops", "tutorial", "plain Python loops over images and positions, as textbooks derive it", slow=True
            ),
            Mode("im2col", "tutorial", "windows unrolled into a matrix, one product per convolution", also=NEIGHBOURS),
            Mode(
                "space_to_depth", "expert", "a pooling window at a time, images innermost, nothing allocated in a step"
            ),
        ),
    ),
    Entry(
        "torch",
        "backends.lenet_torch",
        "torch",
        (
            Mode("eager", "tutorial", "nn.Module, autograd and torch.optim.SGD, one operation after the other"),
            Mode(
                "functional",
                "tutorial",
                "torch.nn.functional on parameters kept by hand: autograd without modules or optimizer",
                also=NEIGHBOURS,
            ),
            Mode("channels_last", "expert", "the modules of eager in PyTorch's channels-last memory format"),
            Mode("compile", "expert", "the whole functional step under torch.compile"),
            Mode("cuda_graph", "expert", "the functional step recorded as a CUDA graph, replayed", devices=("cuda",)),
            Mode("space_to_depth", "expert", "a pooling window at a time, channels-last, backward by hand, compiled"),
        ),
        devices=("cpu", "cuda"),
        precisions=("float32", "float64", "tf32"),
    ),
    Entry(
        "tensorflow",
        "backends.lenet_tensorflow",
        "tensorflow",
        (
            Mode("eager", "tutorial", "Keras layers, GradientTape and the Keras SGD optimizer, step by step"),
            Mode("fit", "tutorial", "the same layers trained by Keras's own loop: compile, then fit", call_steps=64),
            Mode("function", "tutorial", "the step of eager traced once into a graph by tf.function", also=NEIGHBOURS),
            Mode("xla", "expert", "the step of function compiled by XLA: tf.function(jit_compile=True)"),
            Mode("space_to_depth", "expert", "a pooling window at a time, oneDNN convolutions, the rest fused by XLA"),
        ),
        devices=("cpu", "cuda"),
        precisions=("float32", "float64", "tf32"),
        layout="NHWC",
    ),
    Entry(
        "jax",
        "backends.lenet_jax",
        "jax",
        (
            Mode("nnx", "tutorial", "Flax's object-like nnx modules and optimizer, the step compiled by nnx.jit"),
            Mode(
                "jit",
                "tutorial",
                "a Flax linen module and value_and_grad, the whole step compiled by jax.jit",
                also=NEIGHBOURS,
            ),
            Mode("scan", "expert", "all steps of a round as one compiled loop, jax.lax.scan"),
            Mode("space_to_depth", "expert", "a pooling window at a time, images innermost, backward pass by hand"),
        ),
        devices=("cpu", "cuda"),
        precisions=("float32", "float64", "tf32"),
        layout="NHWC",
    ),
    Entry(
        "mxnet",
        "backends.lenet_mxnet",
        "mxnet",
        (
            Mode("imperative", "tutorial", "Gluon blocks, autograd and gluon.Trainer"),
            Mode("hybridize", "tutorial", "the same blocks turned into a graph by net.hybridize()", also=NEIGHBOURS),
            Mode(
                "static",
                "expert",
                "the graph of hybridize with memory and shapes planned once: static_alloc, static_shape",
            ),
            Mode(
                "space_to_depth",
                "expert",
                "first convolution a pooling window at a time, channels filled up to 8, static",
            ),
        ),
    ),
)


def registry() -> dict[str, Entry]:
    """Every backend by name: the built-in ones, then those that installed packages register.

    Raises ValueError where an entry point is broken or takes a name that is already in use.
    """
    entries = {entry.name: entry for entry in BUILT_IN}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry = point.load()
        except Exception as error:
            raise ValueError(f"entry point {point.value} of {ENTRY_POINTS} does not load: {error}") from error
        if not isinstance(entry, Entry):
            raise ValueError(f"entry point {point.value} of {ENTRY_POINTS} is no backends.Entry: {entry!r}")
        if why := wrong_in(entry):
            raise ValueError(f"entry point {point.value} of {ENTRY_POINTS}: {why}")
        if entry.name in entries:
            raise ValueError(f"entry point {point.value} registers {entry.name!r}, a name already in use")
        entries[entry.name] = entry
    return entries


def wrong_in(entry: Entry) -> str:
    """Why an entry can be no row of the table; empty where it can. Names stand in those of files."""
    for field in ("name", "module", "framework", "layout"):
        if not isinstance(getattr(entry, field), str) or not getattr(entry, field):
            return f"its {field} {getattr(entry, field)!r} is no text"
    for field in ("devices", "precisions", "variants"):
        values = getattr(entry, field)
        if not isinstance(values, tuple) or not values or not all(isinstance(one, str) for one in values):
            return f"its {field} {values!r} are no tuple of names"
    if not isinstance(entry.modes, tuple) or not entry.modes or not all(isinstance(m, Mode) for m in entry.modes):
        return f"its modes {entry.modes!r} are no tuple of backends.Mode"
    for name in (entry.name, *(mode.name for mode in entry.modes)):
        if not re.fullmatch(r"\w[\w.+-]*", str(name)):
            return f"{name!r} is no name: letters, digits, and any of . + - _"
    lanes = [mode.lane for mode in entry.modes if mode.lane not in LANES]
    return f"its lane {lanes[0]!r} is none of {', '.join(LANES)}" if lanes else ""


def load(entry: Entry) -> ModuleType:
    """Import the backend's module, and with it the framework. Raises ImportError where it is missing."""
    return importlib.import_module(entry.module)
