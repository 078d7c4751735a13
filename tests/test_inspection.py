"""Filters, activations and receptive fields: what is drawn is what the network is and does."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from backends.lenet import VARIANTS, Field, Variant, fields, initial_weights, seen_by_dense, stage_shapes
from bench import checkpoints, inspection, pictures
from bench.cases import UsageError
from bench.checkpoints import Checkpoint
from bench.reference import forward
from bench.train import load_images
from bench.training import Images
from tests.commands import complaints, in_this_process
from tests.test_command_line import HERE, lenet_bench


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images("digits", "lenet5", "unit", None)


def opened(png: bytes) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), dtype=int)


def colours(png: bytes) -> set[tuple[int, ...]]:
    return set(map(tuple, opened(png).reshape(-1, 3).tolist()))


def test_fields_of_the_default_network_are_those_of_the_formula() -> None:
    found = fields(VARIANTS["lenet5"])
    assert found == {
        "input": Field(1, 1, 0),
        "conv1": Field(5, 1, -2),
        "pool1": Field(6, 2, -2),
        "conv2": Field(14, 2, -2),
        "pool2": Field(16, 4, -2),
        "flatten": Field(16, 4, -2),
    }


# What the order of a sum may move a value by, relative to the value, whoever's matrix product it is.
ROUNDING = 1e-12


def averaging(name: str) -> dict[str, np.ndarray]:
    """Weights of which every unit makes a mean of all that it sees: no pixel is lost in a saturated activation."""
    found = {}
    for key, value in initial_weights(VARIANTS[name]).items():
        shares = np.abs(value.astype(float)) + 0.1
        sums = shares.reshape(len(shares), -1).sum(1).reshape(-1, *[1] * (shares.ndim - 1))
        found[key] = np.zeros_like(shares) if key.endswith(".bias") else shares / sums
    return found


def assert_sees(values: np.ndarray, where: str) -> None:
    """Of a value for three images: the second is no other, but for rounding, and the third far more than that."""
    without, with_it = (np.abs(values[index] - values[0]).max() / np.abs(values[0]).max() for index in (1, 2))
    assert with_it > 1000 * ROUNDING, f"{where}: nothing is seen, so nothing is proven"
    assert without < ROUNDING, where


@pytest.mark.parametrize("name", ["lenet5", "tanh", "modern", "lecun1998", "cnn"])
def test_a_unit_sees_its_field_and_nothing_else(name: str) -> None:
    variant = VARIANTS[name]
    weights = averaging(name)
    for stage, field in fields(variant).items():
        if len(stage_shapes(variant)[stage]) != 3:
            continue
        unit = stage_shapes(variant)[stage][1] // 2
        first = field.start + unit * field.jump
        seen = slice(max(0, first), max(0, first + field.size))
        inside = np.zeros((1, 1, variant.input_size, variant.input_size), bool)
        inside[:, :, seen, seen] = True
        images = np.full((3, 1, variant.input_size, variant.input_size), 0.1)
        images[1][~inside[0]] = 1  # everything but the field
        images[2, 0, seen.start, seen.start] = 1  # a corner of it
        assert_sees(forward(variant, weights, images, activated=False)[stage][:, 0, unit, unit], stage)


def test_a_pixel_beyond_the_field_would_be_seen() -> None:
    values = forward(VARIANTS["lenet5"], averaging("lenet5"), np.full((3, 1, 28, 28), 0.1), activated=False)["pool2"]
    values[2] *= 1.1
    values[1] *= 1 + 1e-6  # as little as one pixel of a unit's 256 does
    with pytest.raises(AssertionError):
        assert_sees(values[:, 0, 2, 2], "pool2")
    with pytest.raises(AssertionError, match="nothing is proven"):
        assert_sees(np.ones(3), "nowhere")


def test_dense_layers_see_what_the_formula_says_and_no_more() -> None:
    assert {name: seen_by_dense(variant) for name, variant in VARIANTS.items()} == {
        "lenet5": (0, 28),
        "tanh": (0, 32),
        "modern": (0, 32),
        "lecun1998": (0, 32),
        "mlp": (0, 28),
        "cnn": (0, 26),
    }
    variant = VARIANTS["cnn"]
    images = np.full((3, 1, 28, 28), 0.1)
    images[1, 0, 26:], images[1, 0, :, 26:] = 1, 1
    images[2, 0, 25, 25] = 1
    assert_sees(forward(variant, averaging("cnn"), images, activated=False)[variant.layers[-1].name], "dense")


@pytest.mark.slow
def test_filters_are_drawn_blue_where_negative_and_orange_where_positive() -> None:
    variant = VARIANTS["lenet5"]
    weights = initial_weights(variant)
    weights["conv1.weight"][:] = 1.0
    (positive, second) = pictures.filters(variant, weights)
    weights["conv1.weight"][:] = -1.0
    (negative, again) = pictures.filters(variant, weights)
    assert (opened(second.png) == opened(again.png)).all()  # drawn twice from the same numbers
    middle = opened(positive.png).shape[0] // 2
    for picture, warm in ((positive, True), (negative, False)):
        red, _, blue = opened(picture.png)[middle, 30]
        assert (int(red) > int(blue)) is warm
    assert "6 kernels of 5x5" in positive.said
    assert "16 kernels of 5x5 for each of 6 input maps" in second.said


def up_to_conv2(name: str) -> Variant:
    """A network without what comes after its second convolution: to draw the third's 1920 kernels takes ten seconds."""
    return replace(VARIANTS[name], layers=VARIANTS[name].layers[:3])


@pytest.mark.slow
def test_what_is_not_connected_is_not_drawn() -> None:
    partly, whole = (
        pictures.filters(
            up_to_conv2(name), {key: np.full_like(value, 0.5) for key, value in initial_weights(VARIANTS[name]).items()}
        )[1]
        for name in ("lecun1998", "tanh")
    )
    white = (opened(partly.png) == 255).all(2).mean()
    assert white > (opened(whole.png) == 255).all(2).mean() + 0.1


@pytest.mark.slow
def test_an_activation_picture_shows_every_stage_and_names_the_largest_digit(digits: Images) -> None:
    at = inspection.untrained("lenet5")
    one = inspection.choose("3", digits, "digits")
    stages = {name: value[0] for name, value in inspection.by_reference(at, one.image[None]).items()}
    picture = pictures.activations(at.variant, stages, one.name, one.title)
    for stage in ("input", "conv1", "pool1", "conv2", "pool2", "dense1", "dense2", "dense3"):
        assert stage in picture.said
    assert f"the answer is {int(np.argmax(stages['dense3']))}" in picture.said
    assert len(colours(picture.png)) > 50


@pytest.mark.slow
def test_another_value_is_another_picture(digits: Images) -> None:
    at = inspection.untrained("mlp")
    one = inspection.choose("3", digits, "digits")
    stages = {name: value[0] for name, value in inspection.by_reference(at, one.image[None]).items()}
    other = {**stages, "dense1": stages["dense1"][::-1]}
    pngs = [pictures.activations(at.variant, values, one.name, one.title).png for values in (stages, stages, other)]
    assert (opened(pngs[0]) == opened(pngs[1])).all()  # or the next line would say nothing
    assert (opened(pngs[0]) != opened(pngs[2])).any()


def test_images_are_chosen_by_class_by_number_or_as_noise(digits: Images) -> None:
    seven = inspection.choose("7", digits, "digits")
    index = int(np.flatnonzero(digits.test_labels == 7)[0])
    assert (seven.image == digits.test_images[index]).all()
    assert f"test image {index} of digits, labelled 7" == seven.title
    assert (inspection.choose(f"#{index}", digits, "digits").image == seven.image).all()
    noise = inspection.choose("noise", digits, "digits")
    assert noise.image.shape == seven.image.shape
    assert (noise.image == inspection.choose("noise", digits, "digits").image).all()
    for wrong in ("12", "-1", "#297", "#x", "", "seven", "٣"):
        with pytest.raises(UsageError, match="--image"):
            inspection.choose(wrong, digits, "digits")


@pytest.mark.slow
def test_the_command_writes_pictures_of_what_a_framework_makes_of_saved_weights(tmp_path: Path) -> None:
    weights = initial_weights(VARIANTS["modern"], seed=5)
    about = {"variant": "modern", "course": {"data": "digits", "normalisation": "standard"}}
    checkpoints.save(tmp_path / "best.npz", Checkpoint(weights, about))
    asked = ("inspect", "best.npz", "--image", "7", "--image", "noise")
    done = lenet_bench(*asked, "--backend", "numpy", "--mode", "im2col", "--python", HERE, cwd=tmp_path)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "by numpy im2col, off by" in done.stdout
    names = {
        "filters-conv1.png",
        "filters-conv2.png",
        "receptive-fields.png",
        "activations-7.png",
        "activations-noise.png",
    }
    assert {path.name for path in (tmp_path / "best").iterdir()} == names | {"inspect.html"}
    for name in names:
        assert opened((tmp_path / "best" / name).read_bytes()).std() > 1
    assert (tmp_path / "best" / "inspect.html").read_text(encoding="utf-8").count("data:image/png;base64,") == len(
        names
    )


@pytest.mark.slow
def test_untrained_weights_need_no_file_and_no_framework(tmp_path: Path) -> None:
    done = in_this_process("inspect", "--variant", "mlp", "--image", "3", "--output", "out", cwd=tmp_path)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "receptive-fields.png",
        "activations-3.png",
        "inspect.html",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.npz"],
        ["README.md"],
        ["--variant", "lenet6"],
        ["--image", "x"],
        ["--data", "letters"],
        ["--backend", "torch"],
        ["--backend", "nobody"],
        ["--backend", "numpy", "--mode", "eager"],
        ["--mode", "eager"],
        ["--python", f"torch={sys.executable}"],
        ["--data", "mnist", "--data-dir", "nowhere"],
        ["--device", "tpu", "--backend", "numpy"],
        ["--device", "cuda"],
        ["--output", "README.md"],
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "README.md").write_text("words")
    done = in_this_process("inspect", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert set(os.listdir(tmp_path)) - {"tmp"} == {"README.md"}


@pytest.mark.slow
def test_the_page_of_a_training_shows_what_it_learned_and_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inspection.of_folder(tmp_path) == ([], [])
    place, other = (tmp_path / "weights" / name / "best.npz" for name in ("case", "other"))
    for path in (place, other):
        path.parent.mkdir(parents=True)
    about = {"variant": "lenet5", "course": {"data": "mnist", "normalisation": "unit"}}
    at = Checkpoint(initial_weights(VARIANTS["lenet5"]), about)
    checkpoints.save(place, at)
    monkeypatch.setenv("LENET_BENCH_DATA", str(tmp_path / "nowhere"))
    found, told = inspection.of_folder(tmp_path)
    assert [picture.name for picture in found] == ["filters-conv1", "filters-conv2"]
    assert "LENET_BENCH_DATA" in told[-1]
    here = Checkpoint(initial_weights(VARIANTS["mlp"]), {"variant": "mlp", "course": {}})
    for path, damage in ((place, other), (other, place)):
        checkpoints.save(path, here)
        damage.write_bytes(b"PK no more")
        found, told = inspection.of_folder(tmp_path)
        names = [picture.name for picture in found]
        assert names == ["receptive-fields", "activations-7", "activations-3", "activations-noise"]
    assert "Left out" in told[0]


def test_weights_that_make_no_numbers_are_one_line(tmp_path: Path) -> None:
    huge = {name: np.full(value.shape, 1e300) for name, value in initial_weights(VARIANTS["modern"]).items()}
    checkpoints.save(tmp_path / "w.npz", Checkpoint(huge, {"variant": "modern"}))
    done = in_this_process("inspect", "w.npz", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no numbers" in done.stderr
