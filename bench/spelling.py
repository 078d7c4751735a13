"""What a name that is not known here may have meant: another tool's word for it, or a slip.

Imports the standard library alone, because nox's own Python asks, too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

# As difflib measures it: `numpi` is that close to numpy, `alexnet` is less close to lenet5.
CLOSE = 0.8

BACKENDS = {
    "pytorch": "torch",
    "tf": "tensorflow",
    "keras": "tensorflow",
    "np": "numpy",
    "flax": "jax",
    "linen": "jax",
    "gluon": "mxnet",
    "apachemxnet": "mxnet",
}
# By what is asked for, other tools' words in small letters and digits alone, as `plain` leaves them.
ALIASES: Mapping[str, Mapping[str, str]] = {
    "backend": BACKENDS,
    "environment": BACKENDS,
    "mode": {
        "torchcompile": "compile",
        "inductor": "compile",
        "tffunction": "function",
        "jitcompile": "xla",
        "kerasfit": "fit",
        "jaxjit": "jit",
        "nnxjit": "nnx",
        "laxscan": "scan",
        "jaxlaxscan": "scan",
        "nhwc": "channels_last",
        "gluon": "imperative",
        "staticalloc": "static",
    },
    "lane": {"idiomatic": "tutorial", "textbook": "tutorial", "optimised": "expert", "optimized": "expert"},
    "variant": {"lecun98": "lecun1998", "lenet1998": "lecun1998", "perceptron": "mlp", "convnet": "cnn"},
    "data set": {
        "fashion": "fashion-mnist",
        "fmnist": "fashion-mnist",
        "loaddigits": "digits",
        "optdigits": "digits",
        "noise": "synthetic",
        "random": "synthetic",
        "fake": "synthetic",
    },
    "device": {"gpu": "cuda", "cuda0": "cuda", "nvidia": "cuda", "gpu0": "cuda", "cpu0": "cpu"},
    "precision": {
        "fp32": "float32",
        "f32": "float32",
        "float": "float32",
        "single": "float32",
        "fp64": "float64",
        "f64": "float64",
        "double": "float64",
        "tensorfloat32": "tf32",
        "tfloat32": "tf32",
    },
    "layer": {
        "conv2d": "--conv",
        "convolution": "--conv",
        "linear": "--dense",
        "fc": "--dense",
        "avgpool": "--pool",
        "maxpool": "--pool",
        "pooling": "--pool",
    },
    "recipe": {"d2lai": "d2l", "diveintodeeplearning": "d2l"},
    "schedule": {"fixed": "constant", "cos": "cosine", "cosineannealing": "cosine", "steplr": "step"},
    "initialisation": {"glorot": "xavier", "kaiming": "he", "lecun": "paper"},
    "normalisation": {"none": "unit", "minmax": "unit", "zscore": "standard", "standardise": "standard"},
    "allocator": {"malloc": "system", "glibc": "system", "default": "system", "none": "system"},
}


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The line that refuses a name of that kind: what it may have meant, and all that there are."""
    listed = list(known)
    return f"unknown {kind} {name!r}{suggestion(kind, name, listed) or ';'} known are {', '.join(listed) or 'none'}"


def suggestion(kind: str, name: str, known: Iterable[str]) -> str:
    """`: did you mean 'torch'?`, or nothing where no known name is near."""
    words = {plain(one): one for one in known}
    there = set(words.values())
    words |= {alias: one for alias, one in ALIASES.get(kind, {}).items() if one in there and alias not in words}
    asked = plain(name)
    close = [asked] if asked in words else difflib.get_close_matches(asked, words, 1, CLOSE)
    return f": did you mean {words[close[0]]!r}?" if close else ""


def plain(name: str) -> str:
    """Small letters and digits alone: `Fashion_MNIST`, `FashionMNIST` and `fashion-mnist` are one name."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
