"""Images and labels: real digits that need no network, MNIST and Fashion-MNIST as IDX files, or noise.

Whatever cannot be read, verified or downloaded raises `DataError` with one line that says what and
where, and leaves no half-written file. Fashion-MNIST has published sums of its .gz files only: others that look
like its files are used, and count as unverified.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.lenet import CLASSES
from bench import spelling
from bench.cases import UsageError
from bench.paths import path_of

NAMES = ("digits", "mnist", "fashion-mnist", "synthetic")
DATA_DIR_VARIABLE = "LENET_BENCH_DATA"
MIRRORS_VARIABLE = "LENET_BENCH_MIRRORS"
IDX_UNSIGNED_BYTE = 0x08
# The share of test images that may be training images, too: published sets have a few of those.
MOST_SHARED = 0.5


class DataError(UsageError):
    """Data that cannot be used; exit code 2."""


@dataclass(frozen=True)
class Dataset:
    """images (M, 1, S, S) float32 within 0 and 1; labels (M,) int64 from 0 to 9.

    `verified` is whether they are known to be the data set of that name, by a sum or because they come with the suite.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    verified: bool = True

    def batches(self, count: int, size: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """`count` batches of `size`, from the image numbered `first` on, starting over at the end.

        Images (count, size, 1, S, S) and labels (count, size).
        """
        rows = (first + np.arange(count * size)) % len(self.labels)
        images = self.images[rows].reshape(count, size, *self.images.shape[1:])
        return images, self.labels[rows].reshape(count, size)


def called(name: str, verified: bool) -> str:
    """What the data count as in rows, in tables and on pages."""
    return name if verified else f"{name} (unverified)"


@dataclass(frozen=True)
class Source:
    """Where the four files of a data set come from; MD5 sums are those of the original .gz files.

    One without SHA-256 sums has as many images of every class.
    """

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
    verified = True
    if name == "digits":
        images, labels = _digits(split)
    elif name == "synthetic":
        return synthetic(input_size, seed=("train", "test").index(split))
    elif name in SOURCES:
        folder = _folder(data_dir)
        image_file, label_file = (_locate(name, file, folder, progress) for file in FILES[split])
        pixels, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        verified = _check_pair(name, split, image_file, pixels, label_file, labels)
        if folder is not None and not verified:
            _refuse_shared_images(name, split, image_file, pixels, folder)
        images = pixels.astype(np.float32) / 255
    else:
        raise DataError(spelling.unknown("data set", name, NAMES))
    return Dataset(name, border(images, input_size), labels.astype(np.int64), verified)


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
) -> bool:
    """Whether both files are the published ones. Raises DataError where they cannot be."""
    if images.shape != (ROWS[split], 28, 28):
        raise DataError(f"{image_file}: {images.shape} values where {name} has {(ROWS[split], 28, 28)}")
    if len(labels) != len(images):
        raise DataError(f"{label_file}: {len(labels)} labels for {len(images)} images of {image_file.name}")
    if labels.max() >= CLASSES:
        raise DataError(f"{label_file}: label {labels.max()} where 0 to {CLASSES - 1} are possible")
    published = [_is_published(name, image_file, images), _is_published(name, label_file, labels)]
    counts = np.bincount(labels, minlength=CLASSES)
    if not published[1] and len(set(counts)) > 1:
        odd, each = int(np.abs(counts - len(labels) / CLASSES).argmax()), len(labels) // CLASSES
        raise DataError(f"{label_file}: label {odd} is there {counts[odd]:,} times; {name} has {each:,} of every class")
    return all(published)


def _is_published(name: str, file: Path, values: np.ndarray) -> bool:
    """Whether a sum says that this is the data set's own file; False where none can tell. Raises DataError."""
    original = file.name.removesuffix(".gz")
    header = struct.pack(">HBB", 0, IDX_UNSIGNED_BYTE, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    found = hashlib.sha256(header + values.tobytes()).hexdigest()
    other = [source for source in SOURCES if source != name and found in SOURCES[source].sha256.values()]
    if other:
        raise DataError(f"{file}: is {other[0]}'s file of that name, not {name}'s")
    expected = SOURCES[name].sha256.get(original)
    if expected not in (None, found):
        raise DataError(f"{file}: is not {name}'s (SHA-256 {found[:12]}..., expected {str(expected)[:12]}...)")
    return expected == found or hashlib.md5(file.read_bytes()).hexdigest() == SOURCES[name].md5.get(original)


def _refuse_shared_images(name: str, split: str, file: Path, images: np.ndarray, folder: Path) -> None:
    """Raise DataError where most of the test images are training images, as far as the other split can be read."""
    other = _at_hand(name, FILES["test" if split == "train" else "train"][0], folder)
    try:
        rest = read_idx(other, 3) if other else images[:0]
    except DataError:
        return  # who asks for that split is told
    pairs = [(file, images), (other or file, rest)]
    (test_file, test), (_, train) = pairs if split == "test" else reversed(pairs)
    seen = {image.tobytes() for image in train}
    again = sum(image.tobytes() in seen for image in test)
    if again > MOST_SHARED * len(test):
        raise DataError(
            f"{test_file}: {again:,} of its {len(test):,} images are training images, too; replace the file"
        )


def _folder(data_dir: Path | None) -> Path | None:
    """The folder that the user named, or that the variable does; None for the cache. Raises UsageError."""
    told = os.environ.get(DATA_DIR_VARIABLE, "") if data_dir is None else ""
    folder = path_of(told, DATA_DIR_VARIABLE) if told else data_dir
    if folder is not None and not folder.is_dir():
        where = f"{DATA_DIR_VARIABLE}: " if told else ""
        raise DataError(f"{where}{folder}: {'is no folder' if folder.exists() else 'there is no such folder'}")
    return folder


def _at_hand(name: str, file: str, folder: Path) -> Path | None:
    """The file, plain or packed, in the folder or in one of the data set's name there."""
    candidates = (place / f"{file}{end}" for place in (folder / name, folder) for end in ("", ".gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _locate(name: str, file: str, folder: Path | None, progress: Callable[[str], Any] | None) -> Path:
    """The file in that folder, or else downloaded into the cache."""
    if folder is None:
        return _download(name, file, progress)
    if (found := _at_hand(name, file, folder)) is None:
        raise DataError(f"{folder}: holds neither {file} nor {file}.gz, nor a folder {name} with them")
    return found


def fingerprint(folders: Mapping[Any, Path]) -> str:
    """The SHA-256 of the arrays that workers are given, in folders of their own."""
    total = hashlib.sha256()
    for _, folder in sorted(folders.items()):
        for path in sorted(folder.glob("*.npy")):
            total.update(path.name.encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def same_data(found: str, begun: str) -> str:
    """`found`. Raises DataError where a run was begun with other data, if it says with which."""
    if begun and begun != found:
        raise DataError("the data are not those that this run was begun with: put them back, or start a new run")
    return found


def at_hand(name: str) -> bool:
    """Whether `load` finds the data set without a download."""
    if name not in SOURCES:
        return True
    files = [file for pair in FILES.values() for file in pair]
    try:
        folder = _folder(None)
    except UsageError:
        return False
    if folder is not None:
        return all(_at_hand(name, file, folder) for file in files)
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
    if (cache / archive).exists() and not (cache / archive).is_file():
        raise DataError(f"{cache / archive}: is no file; remove it")  # pooch would wait for what a pipe has to say
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
