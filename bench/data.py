"""Images and labels: real digits that need no network, MNIST and Fashion-MNIST as IDX files, or noise.

Whatever cannot be read, verified or downloaded raises `DataError` with one line that says what and
where, and leaves no half-written file.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.lenet import CLASSES
from bench.cases import UsageError

NAMES = ("digits", "mnist", "fashion-mnist", "synthetic")
DATA_DIR_VARIABLE = "LENET_BENCH_DATA"
MIRRORS_VARIABLE = "LENET_BENCH_MIRRORS"
IDX_UNSIGNED_BYTE = 0x08


class DataError(UsageError):
    """Data that cannot be used; exit code 2."""


@dataclass(frozen=True)
class Dataset:
    """images (M, 1, S, S) float32 within 0 and 1; labels (M,) int64 from 0 to 9."""

    name: str
    images: np.ndarray
    labels: np.ndarray

    def batches(self, count: int, size: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """`count` batches of `size`, from the image numbered `first` on, starting over at the end.

        Images (count, size, 1, S, S) and labels (count, size).
        """
        rows = (first + np.arange(count * size)) % len(self.labels)
        images = self.images[rows].reshape(count, size, *self.images.shape[1:])
        return images, self.labels[rows].reshape(count, size)


@dataclass(frozen=True)
class Source:
    """Where the four files of a data set come from; MD5 sums are those of the original .gz files."""

    mirrors: tuple[str, ...]
    md5: dict[str, str]
    sha256: dict[str, str]


FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
ROWS = {"train": 60_000, "test": 10_000}

SOURCES = {
    "mnist": Source(
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/",),
        md5={
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        # Of the uncompressed files, which survive being compressed again.
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Source(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        md5={
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        sha256={},
    ),
}


def load(
    name: str,
    input_size: int,
    split: str = "train",
    data_dir: Path | None = None,
    progress: Callable[[str], Any] | None = None,
) -> Dataset:
    """The whole of a data set with images enlarged by a black border to `input_size`.

    `progress` makes a progress bar in pooch's form from a file's name. Raises DataError.
    """
    if name == "digits":
        images, labels = _digits(split)
    elif name == "synthetic":
        return synthetic(input_size, seed=("train", "test").index(split))
    elif name in SOURCES:
        image_file, label_file = (_locate(name, file, data_dir, progress) for file in FILES[split])
        pixels, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        _check_pair(name, split, image_file, pixels, label_file, labels)
        images = pixels.astype(np.float32) / 255
    else:
        raise DataError(f"unknown data set {name!r}; known are {', '.join(NAMES)}")
    return Dataset(name, border(images, input_size), labels.astype(np.int64))


def synthetic(input_size: int, count: int = 4096, seed: int = 0) -> Dataset:
    """Uniform noise with random labels: for machines without data, and for nothing that should learn."""
    random = np.random.default_rng(seed)
    images = random.random((count, 1, input_size, input_size), dtype=np.float32)
    return Dataset("synthetic", images, random.integers(0, CLASSES, count))


def border(images: np.ndarray, input_size: int) -> np.ndarray:
    """(M, S, S) with a black border on all sides, as (M, 1, input_size, input_size)."""
    before, odd = divmod(input_size - images.shape[1], 2)
    return np.pad(images, ((0, 0), (before, before + odd), (before, before + odd)))[:, None]


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 handwritten digits that ship with scikit-learn (Alpaydin & Kaynak 1998), 8x8, enlarged threefold.

    The last 297 are the test split.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("data set digits needs scikit-learn; install it or use --data synthetic") from error
    bunch = load_digits()
    rows = slice(0, 1500) if split == "train" else slice(1500, None)
    images = (bunch.images[rows] / 16).astype(np.float32)
    return np.kron(images, np.ones((1, 3, 3), np.float32)), bunch.target[rows]


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The unsigned bytes of an IDX file, gzip or plain, with that many dimensions. Raises DataError.

    The form is two zero bytes, a type byte, a byte that counts the dimensions, a big-endian 32-bit
    size for each, then the values, row by row.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); replace the file") from error
    magic = struct.pack(">HBB", 0, IDX_UNSIGNED_BYTE, dimensions)
    if content[:4] != magic:
        found = content[:4].hex() or "nothing"
        raise DataError(f"{path}: starts with {found} where an IDX file of this kind has {magic.hex()}")
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{path}: ends inside its header, after {len(content)} bytes; replace the file")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(sizes):
        expected = f"{'x'.join(map(str, sizes))} = {math.prod(sizes)} bytes"
        raise DataError(f"{path}: holds {len(content) - header} bytes where its header promises {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _check_pair(
    name: str, split: str, image_file: Path, images: np.ndarray, label_file: Path, labels: np.ndarray
) -> None:
    if images.shape != (ROWS[split], 28, 28):
        raise DataError(f"{image_file}: {images.shape} values where {name} has {(ROWS[split], 28, 28)}")
    if len(labels) != len(images):
        raise DataError(f"{label_file}: {len(labels)} labels for {len(images)} images of {image_file.name}")
    if labels.max() >= CLASSES:
        raise DataError(f"{label_file}: label {labels.max()} where 0 to {CLASSES - 1} are possible")
    for file, values in ((image_file, images), (label_file, labels)):
        expected = SOURCES[name].sha256.get(file.name.removesuffix(".gz"))
        header = struct.pack(">HBB", 0, IDX_UNSIGNED_BYTE, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
        found = hashlib.sha256(header + values.tobytes()).hexdigest()
        other = [source for source in SOURCES if source != name and found in SOURCES[source].sha256.values()]
        if other:
            raise DataError(f"{file}: is {other[0]}'s file of that name, not {name}'s")
        if expected not in (None, found):
            raise DataError(f"{file}: is not {name}'s (SHA-256 {found[:12]}..., expected {str(expected)[:12]}...)")


def _locate(name: str, file: str, data_dir: Path | None, progress: Callable[[str], Any] | None) -> Path:
    """The file in the folder that the user named, or else downloaded into the cache."""
    if data_dir is None and os.environ.get(DATA_DIR_VARIABLE):
        data_dir = Path(os.environ[DATA_DIR_VARIABLE])
    if data_dir is None:
        return _download(name, file, progress)
    for folder in (data_dir / name, data_dir):
        for candidate in (folder / file, folder / f"{file}.gz"):
            if candidate.is_file():
                return candidate
    raise DataError(f"{data_dir}: holds neither {file} nor {file}.gz, nor a folder {name} with them")


def at_hand(name: str) -> bool:
    """Whether `load` finds the data set without a download."""
    if name not in SOURCES:
        return True
    files = [file for pair in FILES.values() for file in pair]
    if os.environ.get(DATA_DIR_VARIABLE):
        try:
            return all(_locate(name, file, None, None).is_file() for file in files)
        except DataError:
            return False
    return all((_cache(name) / f"{file}.gz").is_file() for file in files)


def _cache(name: str) -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("lenet-bench")) / name


def _download(name: str, file: str, progress: Callable[[str], Any] | None) -> Path:
    """pooch checks the sum before it moves the file to its place; a broken download leaves nothing."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    source = SOURCES[name]
    cache = _cache(name)
    archive = f"{file}.gz"
    downloader = pooch.HTTPDownloader(progressbar=progress(archive) if progress else False, timeout=30)
    own = os.environ.get(MIRRORS_VARIABLE, "").split()
    reasons = []
    for mirror in own or source.mirrors:
        url = f"{mirror.rstrip('/')}/{archive}"
        try:
            path = pooch.retrieve(url, f"md5:{source.md5[file]}", archive, cache, downloader=downloader)
            return Path(path)
        except requests.RequestException as error:
            reasons.append(f"{url}: {type(error).__name__}")
        except ValueError:
            reasons.append(f"{url}: what came has another MD5 sum than the original")
        except OSError as error:
            raise DataError(f"{cache / archive}: cannot be written ({error.strerror or error})") from error
    way_out = f"put the files into a folder and pass --data-dir, set {MIRRORS_VARIABLE}, or use --data digits"
    raise DataError(f"{name} could not be downloaded ({'; '.join(reasons)}); {way_out}")
