"""Training in earnest: schedules, order, the same bits after a kill, agreement, and weights that cross over."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import lenet_numpy
from backends.lenet import VARIANTS, drawn_weights, weight_shapes
from bench import checkpoints, reference
from bench.agreement import agreement
from bench.cases import Case
from bench.checkpoints import Checkpoint, CheckpointError
from bench.results import Accuracy, Curve, Loss, read_rows
from bench.train import agreement_of, load_images, median, seconds_to
from bench.training import (
    LAST,
    Course,
    Diverged,
    Images,
    begin,
    chunks,
    normalised,
    order_of,
    train,
)
from tests import fake
from tests.commands import HERE, Done, alive, in_this_process, lenet_bench, only_run, start

COURSE = Course(Case("numpy", "im2col", batch_size=32), "digits", 5, 3, 0.1, parts=2)
TRAINED = ("--epochs", "2", "--batch", "16", "--seeds", "2", "--looks", "4")
NUMPY = ("--backend", "numpy", "--python", HERE, "--data", "digits")


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images("digits", "lenet5", "unit", None)


def silent(message: dict[str, Any]) -> None:
    """Nobody listens."""


def test_schedules() -> None:
    def rates(schedule: str) -> list[float]:
        course = replace(COURSE, schedule=schedule, epochs=4, learning_rate=0.8)
        return [course.rate(epoch) for epoch in range(4)]

    assert rates("constant") == [0.8] * 4
    assert rates("step") == pytest.approx([0.8, 0.8, 0.08, 0.008])
    assert rates("cosine") == pytest.approx([0.8, 0.4 * (1 + 0.5**0.5), 0.4, 0.4 * (1 - 0.5**0.5)])


def test_every_epoch_has_its_own_order_which_the_seed_alone_decides() -> None:
    first, again = order_of(COURSE, 0, 100), order_of(replace(COURSE, learning_rate=3.0), 0, 100)
    assert first.shape == (3, 32)
    assert len(np.unique(first)) == 96
    assert (first == again).all()
    assert (first != order_of(COURSE, 1, 100)).any()
    assert (first != order_of(replace(COURSE, seed=6), 0, 100)).any()


def test_chunks_are_all_steps_in_order_and_of_nearly_one_size() -> None:
    order = np.arange(937 * 4).reshape(937, 4)
    pieces = list(chunks(order, image_bytes=3136))
    assert (np.concatenate(pieces) == order).all()
    assert {len(piece) for piece in pieces} <= {62, 63}
    assert max(len(piece) for piece in chunks(order, image_bytes=1 << 23)) == 2, "two batches of 32 MiB fill a chunk"


def test_scales_of_images() -> None:
    seen = np.random.default_rng(0).random((50, 1, 9, 9), dtype=np.float32)
    standard = normalised(seen, "standard", seen)
    mean, spread = standard.mean(dtype=np.float64), standard.std(dtype=np.float64)
    assert (mean, spread) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert normalised(np.array([0.0, 1.0], np.float32), "paper", seen) == pytest.approx([-0.1, 1.175])
    assert normalised(seen, "unit", seen) is seen
    assert {normalised(seen, kind, seen).dtype for kind in ("unit", "standard", "paper")} == {np.dtype("float32")}


def test_initialisations_have_the_spread_that_their_papers_ask_for() -> None:
    variant = VARIANTS["lenet5"]
    for kind, spread in {
        "xavier": (6 / (400 + 120)) ** 0.5 / 3**0.5,
        "he": (2 / 400) ** 0.5,
        "paper": 2.4 / 400 / 3**0.5,
    }.items():
        weights = drawn_weights(variant, kind, 1)
        assert {name: value.shape for name, value in weights.items()} == weight_shapes(variant)
        assert weights["dense1.weight"].std() == pytest.approx(spread, rel=0.02)
        assert bool(weights["dense1.bias"].any()) == (kind == "paper")
        other = drawn_weights(variant, kind, 2)
        assert (weights["dense1.weight"] != other["dense1.weight"]).any()
    with pytest.raises(ValueError, match="unknown initialisation 'zeros'"):
        drawn_weights(variant, "zeros", 1)


@pytest.mark.slow
def test_training_learns_and_its_losses_are_the_reference_s(tmp_path: Path) -> None:
    course = replace(COURSE, case=Case("numpy", "im2col", "tanh", batch_size=16), epochs=4)
    images = load_images("digits", "tanh", "standard", None)
    at = train(course, lenet_numpy, images, tmp_path, silent)
    curve = at.about["progress"]["curve"]
    assert [row["epoch"] for row in curve] == [0.5 * part for part in range(1, 9)]
    assert curve[-1]["accuracy"] > 0.9 and curve[-1]["test_loss"] < 0.5
    teacher = reference.Reference(VARIANTS["tanh"], course.learning_rate, begin(course).weights)
    rows = order_of(course, 0, len(images.labels))
    losses = [teacher.step(images.images[row], images.labels[row]) for row in rows]
    assert at.history["losses"][: len(rows)] == pytest.approx(losses, rel=1e-3)
    best = checkpoints.load(tmp_path / "best.npz")
    assert best.about["progress"]["curve"][-1]["accuracy"] == max(row["accuracy"] for row in curve)


class Killed(Exception):
    """Instead of a signal."""


def dying_after(messages: int) -> Callable[[dict[str, Any]], None]:
    """A listener that lets so many messages pass."""
    heard = itertools.count()

    def listen(message: dict[str, Any]) -> None:
        if next(heard) >= messages:
            raise Killed

    return listen


@pytest.fixture(scope="module", params=["constant", "cosine"])
def whole(images: Images, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A training that nothing interrupted."""
    course = replace(COURSE, schedule=request.param)
    return train(course, lenet_numpy, images, tmp_path_factory.mktemp("whole"), silent)


@pytest.mark.slow
@pytest.mark.parametrize("messages", [0, 1, 2, 5])
def test_what_was_interrupted_anywhere_ends_in_the_same_bits(
    images: Images, tmp_path: Path, whole: Checkpoint, messages: int
) -> None:
    """The promise of a resumed training: one process, one BLAS kernel, the same shapes in the same order."""
    course = replace(COURSE, schedule=whole.about["course"]["schedule"])
    with pytest.raises(Killed):
        train(course, lenet_numpy, images, tmp_path, dying_after(messages))
    # Half an epoch is two messages and then kept: with fewer, no attempt would get anywhere.
    for _ in range(course.epochs * course.parts):
        with contextlib.suppress(Killed):
            at = train(course, lenet_numpy, images, tmp_path, dying_after(messages) if messages > 1 else silent)
            break
    assert all((at.weights[name] == value).all() for name, value in whole.weights.items())
    assert (at.history["losses"] == whole.history["losses"]).all()
    accuracies = [[row["accuracy"] for row in one.about["progress"]["curve"]] for one in (at, whole)]
    assert accuracies[0] == accuracies[1]


def test_the_folder_of_another_training_is_refused(images: Images, tmp_path: Path) -> None:
    train(replace(COURSE, epochs=1), lenet_numpy, images, tmp_path, silent)
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(CheckpointError, match="is of another training; delete it"):
        train(replace(COURSE, seed=7), lenet_numpy, images, tmp_path, silent)
    assert (tmp_path / LAST).read_bytes() == before


@pytest.mark.slow
def test_losses_that_are_no_numbers_end_a_training(images: Images, tmp_path: Path) -> None:
    course = replace(COURSE, case=Case("numpy", "im2col", "modern", batch_size=32), learning_rate=1e6)
    with pytest.raises(Diverged, match="try a lower --learning-rate"), np.errstate(all="ignore"):
        train(course, lenet_numpy, load_images("digits", "modern", "unit", None), tmp_path, silent)


def test_weights_that_are_no_numbers_are_not_kept(images: Images, tmp_path: Path) -> None:
    """One step per look: its loss is taken before the step that overflows."""
    course = replace(COURSE, case=Case("numpy", "im2col", batch_size=1500), learning_rate=1e39, epochs=3, parts=1)
    with pytest.raises(Diverged, match="no numbers"), np.errstate(all="ignore"):
        train(course, lenet_numpy, images, tmp_path, silent)
    assert not list(tmp_path.iterdir())


def test_agreement_is_with_those_that_train_the_same_in_the_first_epoch() -> None:
    def ended(losses: list[float]) -> Any:
        at = begin(COURSE)
        progress = {"parts": 6, "curve": [{"steps": 6}], "seconds": 1.0}  # three epochs of two steps
        return replace(at, about={**at.about, "progress": progress}, history={"losses": np.array(losses)})

    def course(backend: str, **changes: Any) -> Course:
        return replace(COURSE, case=Case(backend, "any", batch_size=32), **changes)

    found = {
        course("a"): ended([2.0, 1.0, 9, 9, 9, 9]),
        course("b"): ended([2.0, 1.0, 5, 5, 5, 5]),
        course("c"): ended([2.0, 1.1, 9, 9, 9, 9]),
        course("other", learning_rate=0.7): ended([7.0] * 6),
    }
    a, b, c, other = (agreement_of(one.case, found) for one in found)
    assert a is not None and b is not None and c is not None
    assert (a.batch, b.batch) == (0, 0) and a.holds and b.holds
    assert c.batch == pytest.approx(0.1 / 1.5), "relative to the epoch's mean, which is more than 1"
    assert c.epoch == pytest.approx(0.1 / 3) and not c.holds
    assert other is None, "nobody else trains that"


def test_kinks_part_batches_but_not_the_mean() -> None:
    random = np.random.default_rng(0)
    curve = np.linspace(2, 0.1, 400)
    parted = [np.where(np.arange(400) < 60, curve, curve * random.uniform(0.8, 1.2, 400)) for _ in range(5)]
    assert all((found := agreement(own, parted, True, "float32")) and found.holds for own in parted)
    assert not any((found := agreement(own, parted, False, "float32")) and found.holds for own in parted)
    early = [*parted[:4], parted[4] * np.where(np.arange(400) == 2, 1.02, 1)]
    assert (found := agreement(early[4], early, True, "float32")) and not found.holds
    slower = [*parted[:4], np.where(np.arange(400) < 60, curve, 1.3 * curve)]
    assert (found := agreement(slower[4], slower, True, "float32")) and not found.holds
    assert agreement(curve, [curve], False, "float32") is None


def test_a_training_that_goes_wrong_accuses_nobody_of_chaos() -> None:
    """tanh at a learning rate of 3: correct trainers part, and the loss never comes down."""
    random = np.random.default_rng(0)
    wrong = [np.concatenate([[2.3, 2.4, 2.5], random.uniform(5, 9, 60)]) for _ in range(5)]
    wrong = [np.concatenate([one[:3], np.sort(one[3:])]) for one in wrong]
    assert all((found := agreement(own, wrong, False, "float32")) and found.batch == 0 for own in wrong)


def test_medians_and_times() -> None:
    curve = [{"accuracy": 0.9, "seconds": 1.0}, {"accuracy": 0.985, "seconds": 2.0}, {"accuracy": 0.98, "seconds": 3.0}]
    assert seconds_to(0.985, curve) == 2.0
    assert seconds_to(0.99, curve) is None
    assert median([3.0, None, 1.0]) == 3.0, "one of three seeds did not get there"
    assert median([None, None, 1.0]) is None
    assert median([]) is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder in which the command has trained two seeds, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, lenet_bench("train", *NUMPY, *TRAINED, cwd=folder)


@pytest.mark.slow
def test_the_command_writes_curves_losses_accuracy_and_weights(trained: tuple[Path, Done]) -> None:
    folder, done = trained
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(folder)
    (row,) = read_rows(run, Accuracy)
    assert (row.status, row.seeds, row.parameters, row.epochs) == ("ok", "0 1", 61706, 2)
    assert row.images_per_s and row.train_seconds and row.version == np.__version__
    assert len(read_rows(run, Curve)) == 2 * 2 * 4
    assert len(read_rows(run, Loss)) == 2 * 2 * (1500 // 16)
    weights = sorted(run.glob("weights/*/*.npz"))
    assert [path.name for path in weights] == ["best.npz", "last.npz"] * 2


@pytest.mark.slow
def test_the_table_comes_from_the_run_folder(trained: tuple[Path, Done], tmp_path: Path) -> None:
    folder, _ = trained
    done = in_this_process("accuracy", str(only_run(folder)), "--markdown", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| backend | mode | variant | parameters |")
    assert "| im2col | lenet5 | 61,706 |" in done.stdout
    assert "digits, 2 epochs, batch 16, constant learning rate, xavier, unit, 1 thread" in done.stdout


@pytest.mark.slow
def test_evaluate_holds_every_framework_to_the_reference(trained: tuple[Path, Done], tmp_path: Path) -> None:
    folder, _ = trained
    weights = next(only_run(folder).glob("weights/*-s0/last.npz"))
    done = in_this_process("evaluate", str(weights), *NUMPY[:4], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of 297" in done.stdout
    python = fake.install(tmp_path)
    options = ("--backend", "fake", "--mode", "blind", "--python", f"fake={python}")
    done = in_this_process("evaluate", str(weights), *options, cwd=tmp_path)
    assert done.returncode == 1, "it sees everything upside down, even if these weights say the same of all"
    assert "differs" in done.stdout


@pytest.mark.slow
def test_a_checkpoint_that_was_damaged_is_named_and_left_alone(trained: tuple[Path, Done], tmp_path: Path) -> None:
    folder, _ = trained
    run = tmp_path / "results" / "damaged"
    shutil.copytree(only_run(folder), run)
    last = next(run.glob("weights/*/last.npz"))
    last.write_bytes(last.read_bytes()[:-2000])
    before = {path: path.read_bytes() for path in run.rglob("*.*")}
    done = in_this_process("train", "--resume", str(run), cwd=tmp_path)
    assert done.returncode == 2
    assert "last.npz: is no weights file that can be read" in done.stderr
    assert {path: path.read_bytes() for path in run.rglob("*.*")} == before


def begun(run: Path) -> bool:
    """The first training has kept its first checkpoint."""
    return bool(list(run.glob("weights/*-s0/last.npz")))


def between(run: Path) -> bool:
    """The first training has ended, and the tables were made of it."""
    return (run / "accuracy.csv").exists()


def second(run: Path) -> bool:
    """The second training has kept its first checkpoint."""
    return bool(list(run.glob("weights/*-s1/last.npz")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "moment"),
    [
        (signal.SIGKILL, -9, begun),
        (signal.SIGKILL, -9, second),
        (signal.SIGTERM, 130, between),
        (signal.SIGTERM, 130, second),
    ],
)
def test_a_kill_at_any_moment_and_a_resume_end_in_the_same_weights(
    trained: tuple[Path, Done], tmp_path: Path, how: signal.Signals, code: int, moment: Callable[[Path], bool]
) -> None:
    """The moment is what is seen on the disk; a training that has ended before the kill arrives is whole, and stays so.

    The same bits are the promise: same machine, same kernel, same order, whichever process goes on.
    """
    folder, _ = trained
    process = start("train", *NUMPY, *TRAINED, cwd=tmp_path)
    while process.poll() is None and not any(map(moment, tmp_path.glob("results/*"))):
        time.sleep(0.005)
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode in (code, 0), errors
    while alive(tmp_path):
        time.sleep(0.02)
    done = lenet_bench("train", "--resume", str(only_run(tmp_path)), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    whole, resumed = only_run(folder), only_run(tmp_path)
    for path in whole.glob("weights/*/*.npz"):
        its = checkpoints.load(resumed / path.relative_to(whole)).weights
        assert all((its[name] == value).all() for name, value in checkpoints.load(path).weights.items()), path
    assert [row.loss for row in read_rows(resumed, Loss)] == [row.loss for row in read_rows(whole, Loss)]
    assert not list(resumed.rglob(".*"))


@pytest.mark.slow
def test_a_framework_that_trains_otherwise_is_found_by_its_losses(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    options = ("--backend", "numpy,fake", "--mode", "im2col,good,wrong", "--python", HERE)
    options += ("--python", f"fake={python}", "--data", "digits", "--epochs", "1", "--batch", "16")
    done = lenet_bench("train", *options, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row.mode: row for row in read_rows(only_run(tmp_path), Accuracy)}
    assert {mode: row.agreement for mode, row in rows.items()} == {
        "im2col": "agrees",
        "good": "agrees",
        "wrong": "differs",
    }
    assert "fake wrong lenet5: in the first epoch, a batch's loss is up to" in done.stdout


@pytest.mark.slow
def test_a_training_that_dies_is_one_row_and_its_checkpoints_stay(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    options = ("--backend", "fake", "--mode", "good,dies_late", "--python", f"fake={python}", "--data", "digits")
    done = lenet_bench("train", *options, "--epochs", "2", "--looks", "4", "--batch", "100", cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    rows = {row.mode: row for row in read_rows(only_run(tmp_path), Accuracy)}
    assert rows["good"].status == "ok"
    assert rows["dies_late"].status == "failed"
    assert "exit status -9" in rows["dies_late"].reason
    assert len(list(only_run(tmp_path).glob("weights/fake-dies_late*/last.npz"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", *NUMPY, "--recipe", "soup"), "unknown recipe 'soup'"),
        (("train", *NUMPY, "--schedule", "often"), "unknown schedule 'often'"),
        (("train", *NUMPY, "--init", "zeros"), "unknown initialisation 'zeros'"),
        (("train", *NUMPY, "--normalise", "no"), "unknown normalisation 'no'"),
        (("train", *NUMPY, "--learning-rate", "0"), "--learning-rate 0.0 is not a number above 0"),
        (("train", *NUMPY, "--learning-rate", "inf"), "--learning-rate inf is not a number above 0"),
        (("train", *NUMPY, "--deadline", "inf"), "--deadline inf is more than"),
        (
            ("train", "--backend", "numpy", "--variant", "mlp", "--mode", "loops"),
            "defines mlp in these of its modes only",
        ),
        (("train", *NUMPY, "--batch", "2000"), "a batch of 2000 is more than the 1500 images"),
        (("train", *NUMPY, "--looks", "100", "--batch", "128"), "100 looks"),
        (("train", *NUMPY, "--backend", "theano"), "unknown backend 'theano'"),
        (("train", "--resume", "nowhere"), "tells of no training"),
        (("train", "--resume", "nowhere", "--epochs", "9"), "--epochs has no effect beside --resume"),
        (("run", "--resume", "nowhere", "--results", "x"), "--results has no effect beside --resume"),
        (("evaluate", "nothing.npz"), "nothing.npz: is no weights file"),
        (("accuracy", "nowhere"), "accuracy.csv: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())
