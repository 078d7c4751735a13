"""Images and labels: what is real is used, what is damaged is refused, what is downloaded is checked."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import data, revision
from bench.data import DATA_DIR_VARIABLE, FILES, MIRRORS_VARIABLE, SOURCES, DataError, border, load, read_idx, synthetic
from bench.results import Accuracy, Throughput, read_rows
from tests import made_up
from tests.commands import in_this_process

SHARED = Path(__file__).absolute().parents[2] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here")


# As published: Fashion-MNIST's in its README (github.com/zalandoresearch/fashion-mnist), MNIST's in torchvision's
# `datasets/mnist.py`.
PUBLISHED = {
    "mnist": {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}


def test_the_sums_and_the_numbers_of_images_are_the_published_ones() -> None:
    assert {name: source.md5 for name, source in SOURCES.items()} == PUBLISHED
    assert data.ROWS == {"train": 60_000, "test": 10_000}


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


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in Fashion-MNIST's form: 60 training images and 20 for the test, as many of every class; packed."""
    monkeypatch.setattr(data, "ROWS", {"train": 60, "test": 20})
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    folder = tmp_path / "fashion"
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, (images, labels) in FILES.items():
        count = data.ROWS[split]
        pixels = random.integers(0, 256, (count, 28, 28))
        for name, values in ((images, pixels), (labels, random.permutation(count) % 10)):
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values.astype(np.uint8)), mtime=0))
    return folder


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sums of Fashion-MNIST be those of the files in that folder."""
    sums = {path.name.removesuffix(".gz"): hashlib.md5(path.read_bytes()).hexdigest() for path in folder.glob("*.gz")}
    monkeypatch.setitem(SOURCES, "fashion-mnist", replace(SOURCES["fashion-mnist"], md5=sums))


def rewrite(path: Path, change: object) -> None:
    """Its values as that makes them."""
    values = read_idx(path, 3 if "images" in path.name else 1).copy()
    path.write_bytes(gzip.compress(idx(np.asarray(change(values), np.uint8))))  # type: ignore[operator]


def test_files_with_published_sums_are_verified_and_others_are_not(
    fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not load("fashion-mnist", 28, "train", fashion).verified
    publish(fashion, monkeypatch)
    for split in ("train", "test"):
        assert load("fashion-mnist", 28, split, fashion).verified
    packed = fashion / "train-images-idx3-ubyte.gz"
    content = packed.read_bytes()
    packed.write_bytes(gzip.compress(gzip.decompress(content), 1))
    assert not load("fashion-mnist", 28, "train", fashion).verified, "packed anew: no sum can tell"
    assert load("fashion-mnist", 28, "test", fashion).verified, "which is of the other files"
    packed.write_bytes(content)
    labels = fashion / "train-labels-idx1-ubyte.gz"
    labels.with_suffix("").write_bytes(gzip.decompress(labels.read_bytes()))
    assert not load("fashion-mnist", 28, "train", fashion).verified, "a plain file comes before a packed one"


def test_what_counts_as_unverified_says_so() -> None:
    assert data.called("fashion-mnist", False) == "fashion-mnist (unverified)"
    assert data.called("fashion-mnist", True) == "fashion-mnist"
    assert load("digits", 28).verified


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train-labels-idx1-ubyte", lambda labels: np.where(labels == 3, 4, labels), r"label . is there \d+ times"),
        ("t10k-labels-idx1-ubyte", lambda labels: labels * 0, "label 0 is there 20 times; fashion-mnist has 2 of"),
        ("t10k-labels-idx1-ubyte", lambda labels: labels[:-1], "19 labels for 20 images"),
        ("train-images-idx3-ubyte", lambda images: images[:20], "where fashion-mnist has"),
    ],
)
def test_what_cannot_be_fashion_mnist_is_refused(fashion: Path, name: str, change: object, message: str) -> None:
    rewrite(fashion / f"{name}.gz", change)
    with pytest.raises(DataError, match=message) as refusal:
        for split in ("train", "test"):
            load("fashion-mnist", 28, split, fashion)
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_test_images_that_are_training_images_are_refused(fashion: Path, split: str) -> None:
    train, test = (fashion / f"{FILES[one][0]}.gz" for one in ("train", "test"))
    kept = read_idx(train, 3)
    few, most = test.read_bytes(), kept[10:30].copy()
    most[:5] = read_idx(test, 3)[:5]
    test.write_bytes(gzip.compress(idx(most)))
    with pytest.raises(DataError, match=r"t10k-images.*: 15 of its 20 images are training images, too"):
        load("fashion-mnist", 28, split, fashion)
    test.write_bytes(few)
    rewrite(test, lambda images: np.concatenate([kept[:3], images[3:]]))
    assert not load("fashion-mnist", 28, split, fashion).verified, "a few are in both of the published sets"


@pytest.mark.parametrize("kind", range(2))
def test_one_file_for_both_splits_is_refused(fashion: Path, kind: int) -> None:
    train, test = (fashion / f"{FILES[one][kind]}.gz" for one in ("train", "test"))
    test.unlink()
    test.symlink_to(train)
    with pytest.raises(DataError, match="t10k"):
        load("fashion-mnist", 28, "test", fashion)


def test_who_trains_on_one_split_needs_no_other(fashion: Path) -> None:
    other = fashion / "t10k-images-idx3-ubyte.gz"
    other.write_bytes(other.read_bytes()[:50])
    assert len(load("fashion-mnist", 28, "train", fashion).labels) == 60
    other.unlink()
    assert len(load("fashion-mnist", 28, "train", fashion).labels) == 60


@needs_mnist
def test_mnist_is_verified_by_its_sums_or_refused(tmp_path: Path) -> None:
    for name in FILES["test"]:
        (tmp_path / name).write_bytes(gzip.decompress((SHARED / f"{name}.gz").read_bytes()))
    assert load("mnist", 28, "test", tmp_path).verified, "plain files have sums, too"
    with pytest.raises(DataError, match="is mnist's file of that name, not fashion-mnist's"):
        load("fashion-mnist", 28, "test", tmp_path)


def test_a_pipe_in_the_cache_keeps_nobody_waiting(mirror: list[str], tmp_path: Path) -> None:
    place = tmp_path / "cache" / "lenet-bench" / "mnist"
    place.mkdir(parents=True)
    os.mkfifo(place / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match="is no file; remove it"):
        load("mnist", 28)


def test_a_link_in_the_cache_is_replaced_and_what_it_leads_to_is_left(mirror: list[str], tmp_path: Path) -> None:
    place = tmp_path / "cache" / "lenet-bench" / "mnist"
    place.mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    (place / "train-images-idx3-ubyte.gz").symlink_to(tmp_path / "precious")
    assert len(load("mnist", 28).labels) == 6
    assert (tmp_path / "precious").read_text() == "mine"


def in_fashion(fashion: Path, *arguments: str) -> list[str]:
    """A command with those data; the lines that it prints. Nothing is there to measure with: rows say so."""
    done = in_this_process(*arguments, "--data", "fashion-mnist", "--data-dir", str(fashion), cwd=fashion.parent)
    assert done.returncode in (0, 4), done.stderr
    return done.stdout.splitlines()


UNVERIFIED = "fashion-mnist (unverified)"


def test_a_run_says_that_its_data_are_unverified_and_goes_on_saying_it(
    fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    length = ("--quick", "--passes", "1", "--max-minutes", "0", "--batch", "8")
    lines = in_fashion(fashion, "run", "--mode", "im2col", *length)
    assert any(line.startswith(f"data {UNVERIFIED}, seed ") for line in lines)
    (run,) = (fashion.parent / "results").iterdir()
    assert {row.data for row in read_rows(run, Throughput)} == {UNVERIFIED}
    publish(fashion, monkeypatch)
    for _ in range(2):
        done = in_this_process("run", "--resume", str(run), cwd=fashion.parent)
        assert f"data {UNVERIFIED}, seed " in done.stdout, done.stderr
        assert {row.data for row in read_rows(run, Throughput)} == {UNVERIFIED}
    shown = in_this_process("report", str(run), cwd=fashion.parent)
    assert shown.returncode == 0, shown.stderr
    for page in ("report.html", "report.md"):
        assert UNVERIFIED in (run / page).read_text(encoding="utf-8")


def test_a_run_of_verified_data_that_goes_on_with_others_says_so(
    fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = SOURCES["fashion-mnist"]
    publish(fashion, monkeypatch)
    length = ("--quick", "--passes", "1", "--max-minutes", "0", "--batch", "8")
    assert any(line.startswith("data fashion-mnist, ") for line in in_fashion(fashion, "run", "--mode", "jit", *length))
    (run,) = (fashion.parent / "results").iterdir()
    monkeypatch.setitem(SOURCES, "fashion-mnist", genuine)
    assert f"data {UNVERIFIED}, " in in_this_process("run", "--resume", str(run), cwd=fashion.parent).stdout
    publish(fashion, monkeypatch)
    assert f"data {UNVERIFIED}, " in in_this_process("run", "--resume", str(run), cwd=fashion.parent).stdout


def test_a_training_says_that_its_data_are_unverified_and_goes_on_saying_it(
    fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = in_fashion(fashion, "train", "--mode", "im2col", "--batch", "8", "--epochs", "1")
    assert any(line.startswith(f"data {UNVERIFIED}, run folder ") for line in lines)
    (run,) = (fashion.parent / "results").iterdir()
    assert {row.data for row in read_rows(run, Accuracy)} == {UNVERIFIED}
    publish(fashion, monkeypatch)
    done = in_this_process("train", "--resume", str(run), cwd=fashion.parent)
    assert f"data {UNVERIFIED}, run folder " in done.stdout, done.stderr
    assert {row.data for row in read_rows(run, Accuracy)} == {UNVERIFIED}


@pytest.mark.slow
def test_a_gate_a_selfcheck_and_evaluate_say_so_too(fashion: Path) -> None:
    other = f"numpy={fashion}"  # an interpreter that does not run
    lines = in_fashion(fashion, "gate", "--base-python", other, "--mode", "im2col", "--passes", "2", "--allow-dirty")
    assert any(line.startswith(f"data {UNVERIFIED}, seed ") for line in lines)
    (run,) = (fashion.parent / "results").iterdir()
    assert any(UNVERIFIED in note for note in json.loads((run / "verdicts.json").read_text())["notes"])
    assert json.loads((run / "machine.json").read_text())["data"] == UNVERIFIED
    assert in_this_process("report", str(run), cwd=fashion.parent).returncode == 0
    assert UNVERIFIED in (run / "report.md").read_text(encoding="utf-8")
    lines = in_fashion(fashion, "selfcheck", "--backend", "numpy", "--passes", "2", "--batch", "8")
    assert any(line.startswith(f"data {UNVERIFIED}, seed ") for line in lines)
    made_up.write_weights(fashion.parent / "w.npz")
    told = " ".join(in_fashion(fashion, "evaluate", "w.npz", "--mode", "im2col"))
    assert f"test images of {UNVERIFIED}" in " ".join(told.split()), "a title takes as many lines as it needs"


@pytest.mark.slow
def test_pictures_of_unverified_data_say_so_on_the_terminal_and_on_the_page(fashion: Path) -> None:
    lines = in_fashion(fashion, "inspect", "--variant", "mlp", "--image", "#3", "--output", "out")
    told = f"test image 3 of {UNVERIFIED}, labelled "
    assert any(line.startswith(told) for line in lines)
    assert told in (fashion.parent / "out" / "inspect.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["run", "train"])
def test_nothing_goes_on_with_other_data_or_other_sources(
    fashion: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Labels shifted by one are as many of every class; sources that differ in a comment may differ in a step."""
    length = {"run": ("--quick", "--passes", "1", "--max-minutes", "0"), "train": ("--epochs", "1")}[command]
    in_fashion(fashion, command, "--mode", "jit", "--batch", "8", *length)
    (run,) = (fashion.parent / "results").iterdir()
    before = {path: path.read_bytes() for path in run.rglob("*.*")}
    with monkeypatch.context() as elsewhere:
        for module in ("run", "train"):
            elsewhere.setattr(f"bench.{module}.fingerprint", lambda root: "other")
        done = in_this_process(command, "--resume", str(run), cwd=fashion.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "was begun with other sources in backends or bench than stand in" in done.stderr
    for split in ("train", "t10k"):
        file = fashion / f"{split}-labels-idx1-ubyte.gz"
        labels = read_idx(file, 1)
        file.write_bytes(gzip.compress(idx(((labels + 1) % 10).astype(np.uint8))))
    done = in_this_process(command, "--resume", str(run), cwd=fashion.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "the data are not those that this run was begun with" in done.stderr
    assert {path: path.read_bytes() for path in run.rglob("*.*")} == before


@pytest.mark.slow
def test_a_request_that_was_edited_into_what_cannot_be_is_one_line(fashion: Path) -> None:
    in_fashion(fashion, "run", "--mode", "jit", "--batch", "8", "--quick", "--passes", "1", "--max-minutes", "0")
    (run,) = (fashion.parent / "results").iterdir()
    file = run / "request.json"
    asked = json.loads(file.read_text(encoding="utf-8"))
    edits = [("batch_size", 0), ("batch_size", "8"), ("threads", 10_000), ("backend", "../numpy"), ("variant", "nope")]
    for field, value in [*edits, ("mode", "eager"), ("precision", 32), ("passes", "2"), ("passes", 0)]:
        changed = json.loads(json.dumps(asked))
        if field == "passes":
            changed["request"]["passes"] = value
        else:
            changed["request"]["cases"][0][field] = value
        file.write_text(json.dumps(changed), encoding="utf-8")
        done = in_this_process("run", "--resume", str(run), cwd=fashion.parent)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), (field, value, done.stderr)
        assert "request.json: asks for what cannot be" in done.stderr


def test_a_finished_run_keeps_the_commit_that_it_was_measured_at(
    fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_fashion(fashion, "run", "--mode", "jit", "--batch", "8", "--quick", "--passes", "1", "--max-minutes", "0")
    (run,) = (fashion.parent / "results").iterdir()
    (before,) = {row.commit for row in read_rows(run, Throughput)}
    later = revision.Standing("f" * 40, "yes")
    monkeypatch.setattr(revision, "at_start", lambda root: later)
    in_this_process("run", "--resume", str(run), cwd=fashion.parent)
    assert {row.commit for row in read_rows(run, Throughput)} == {before}
    told = json.loads((run / "machine.json").read_text(encoding="utf-8"))
    (run / "machine.json").write_text(json.dumps({**told, "cpu": "another processor"}), encoding="utf-8")
    done = in_this_process("run", "--resume", str(run), cwd=fashion.parent)
    assert done.returncode == 2 and "was begun on another processor, another processor" in done.stderr
