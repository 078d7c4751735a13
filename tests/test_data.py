"""Images and labels: what is real is used, what is damaged is refused, what is downloaded is checked."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import data
from bench.data import DATA_DIR_VARIABLE, FILES, MIRRORS_VARIABLE, SOURCES, DataError, border, load, read_idx, synthetic

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here")


def idx(values: np.ndarray) -> bytes:
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in MNIST's form that is served, or read from a folder: 6 training images and 4 for the test."""
    monkeypatch.setattr(data, "ROWS", {"train": 6, "test": 4})
    folder = tmp_path / "served"
    folder.mkdir()
    sums = {}
    random = np.random.default_rng(0)
    for split, (images, labels) in FILES.items():
        count = {"train": 6, "test": 4}[split]
        for name, values in (
            (images, random.integers(0, 256, (count, 28, 28))),
            (labels, random.integers(0, 10, count)),
        ):
            archive = gzip.compress(idx(values.astype(np.uint8)))
            (folder / f"{name}.gz").write_bytes(archive)
            sums[name] = hashlib.md5(archive).hexdigest()
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], md5=sums, sha256={}))
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # what is asked of this machine goes through no proxy
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody answers, and nobody else can begin to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/nobody"


@pytest.fixture
def mirror(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server of those files; the list is what was asked of it."""
    asked: list[str] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tiny))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv(MIRRORS_VARIABLE, f"http://127.0.0.1:{server.server_port}/")
        yield asked
        server.shutdown()


def test_digits_are_real_enlarged_threefold_and_bordered() -> None:
    for size in (28, 32):
        digits = load("digits", size)
        assert digits.images.shape == (1500, 1, size, size)
        assert digits.images.dtype == np.float32
        assert 0 == digits.images.min() < digits.images.max() == 1
        edge = (size - 24) // 2
        assert (digits.images[:, :, :edge] == 0).all()
        middle = digits.images[0, 0, edge : edge + 24, edge : edge + 24]
        np.testing.assert_array_equal(middle[::3, ::3], middle[2::3, 2::3])
    assert set(digits.labels) == set(range(10))
    assert len(load("digits", 28, "test").labels) == 297


@needs_mnist
def test_the_shared_mnist_is_read_whole() -> None:
    mnist = load("mnist", 32, data_dir=SHARED)
    assert mnist.images.shape == (60_000, 1, 32, 32)
    assert mnist.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert load("mnist", 28, "test", SHARED.parent).labels[:5].tolist() == [7, 2, 1, 0, 4]


@needs_mnist
def test_the_folder_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(SHARED))
    assert len(load("mnist", 28, "test").labels) == 10_000


@needs_mnist
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: packed[:-100], "cannot be read"),
        (lambda packed: packed[:2000] + b"\x00\x01" + packed[2002:], "cannot be read"),
        (
            lambda packed: gzip.compress(b"\x00\x00\x08\x03" + gzip.decompress(packed)[4:]),
            "where an IDX file of this kind",
        ),
        (lambda packed: gzip.decompress(packed)[:-1], "header promises"),
        (lambda packed: gzip.decompress(packed)[:6], "ends inside its header"),
        (lambda packed: b"", "starts with nothing"),
        (lambda packed: b"<html>not found</html>", "where an IDX file of this kind"),
        (lambda packed: gzip.decompress(packed)[:-1] + b"\x0b", "label 11 where 0 to 9 are possible"),
        (lambda packed: gzip.decompress(packed)[:-1] + b"\x07", "is not mnist's"),
        (lambda packed: idx(np.zeros(9_999, np.uint8)), "9999 labels for 10000 images"),
    ],
)
def test_a_damaged_label_file_is_refused_in_one_line(tmp_path: Path, damage: object, message: str) -> None:
    for name in FILES["test"]:
        shutil.copy(SHARED / f"{name}.gz", tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.chmod(0o644)
    labels.write_bytes(damage(labels.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as refusal:
        load("mnist", 28, "test", tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(labels) in str(refusal.value)


@needs_mnist
def test_images_under_the_name_of_labels_are_refused(tmp_path: Path) -> None:
    images, labels = FILES["test"]
    shutil.copy(SHARED / f"{images}.gz", tmp_path / f"{images}.gz")
    shutil.copy(SHARED / f"{images}.gz", tmp_path / f"{labels}.gz")
    with pytest.raises(DataError, match="starts with 00000803 where an IDX file of this kind has 00000801"):
        load("mnist", 28, "test", tmp_path)


def test_a_file_can_be_plain_or_gzip(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx(values))
    (tmp_path / "packed").write_bytes(gzip.compress(idx(values)))
    for name in ("plain", "packed"):
        np.testing.assert_array_equal(read_idx(tmp_path / name, 3), values)


def test_a_folder_without_the_files_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither train-images-idx3-ubyte nor"):
        load("mnist", 28, data_dir=tmp_path)


def test_an_unknown_data_set_is_refused_with_those_known() -> None:
    with pytest.raises(DataError, match="unknown data set 'cifar'; known are digits, mnist, fashion-mnist, synthetic"):
        load("cifar", 28)


def test_files_are_downloaded_checked_and_then_kept(mirror: list[str], tmp_path: Path) -> None:
    first = load("mnist", 28)
    assert first.images.shape == (6, 1, 28, 28)
    assert len(mirror) == 2
    again = load("mnist", 28)
    np.testing.assert_array_equal(first.images, again.images)
    assert len(mirror) == 2, "the second time, nothing was asked of the server"
    kept = sorted(file.name for file in (tmp_path / "cache" / "lenet-bench" / "mnist").iterdir())
    assert kept == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def test_progress_is_told_while_a_file_comes(mirror: list[str]) -> None:
    seen: list[tuple[str, int, int]] = []

    class Bar:
        total = 0

        def __init__(self, name: str) -> None:
            self.name, self.count = name, 0

        def update(self, count: int) -> None:
            self.count += count

        def reset(self) -> None:
            self.count = 0

        def close(self) -> None:
            seen.append((self.name, self.total, self.count))

    load("mnist", 28, progress=Bar)
    assert [name for name, _, _ in seen] == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert all(total > 0 for _, total, _ in seen)


def test_what_came_damaged_is_refused_and_not_kept(mirror: list[str], tiny: Path, tmp_path: Path) -> None:
    (tiny / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match="another MD5 sum than the original") as refusal:
        load("mnist", 28)
    assert "--data digits" in str(refusal.value)
    assert list((tmp_path / "cache" / "lenet-bench" / "mnist").iterdir()) == []


def test_a_second_mirror_is_tried(mirror: list[str], nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    working = data.os.environ[MIRRORS_VARIABLE]
    monkeypatch.setenv(MIRRORS_VARIABLE, f"{nobody} {working}")
    assert len(load("mnist", 28).labels) == 6


def test_without_a_network_one_line_says_what_to_do(tiny: Path, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRRORS_VARIABLE, nobody)
    with pytest.raises(DataError, match=r"could not be downloaded .* pass --data-dir"):
        load("mnist", 28)


def test_a_cache_that_cannot_be_written_is_named(mirror: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        load("mnist", 28)


def test_a_full_disk_leaves_nothing_half_written(
    mirror: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    real = pooch.HTTPDownloader.__call__

    def full(self: pooch.HTTPDownloader, url: str, output_file: str, *rest: object, **more: object) -> None:
        real(self, url, output_file, *rest, **more)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(DataError, match="No space left on device"):
        load("mnist", 28)
    assert list((tmp_path / "cache" / "lenet-bench" / "mnist").iterdir()) == []


def test_batches_start_over_at_the_end() -> None:
    small = synthetic(28, count=5)
    images, labels = small.batches(2, 4, first=3)
    assert images.shape == (2, 4, 1, 28, 28)
    np.testing.assert_array_equal(labels.ravel(), small.labels[[3, 4, 0, 1, 2, 3, 4, 0]])


def test_a_border_is_black_and_even() -> None:
    framed = border(np.ones((1, 24, 24), np.float32), 28)
    assert framed.shape == (1, 1, 28, 28)
    assert framed.sum() == 24 * 24
    assert framed[0, 0, 2, 2] == framed[0, 0, 25, 25] == 1
