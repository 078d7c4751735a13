"""The layer calculator: known answers from the paper and the textbooks, and what it says of bad stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.lenet import VARIANTS, connections, multiply_adds, parameters, receptive_fields, stage_shapes
from bench.cases import UsageError
from bench.layers import calculate, parse_input, parse_stack, steps_of, totals
from tests.commands import in_this_process
from tests.test_command_line import lenet_bench


def test_sizes_of_the_textbooks() -> None:
    assert calculate(1, 100, parse_stack(["--conv", "1@5"]))[-1].size == 96
    assert calculate(1, 100, parse_stack(["--conv", "1@5p1"]))[-1].size == 98
    rows = calculate(3, 227, parse_stack(["--conv", "96@11s4", "--pool", "3s2"]))
    assert [row.shape for row in rows] == ["3x227x227", "96x55x55", "96x27x27"], "AlexNet's first layers"
    assert rows[1].formula == "floor((227 + 2*0 - 11) / 4) + 1 = 55"
    assert rows[1].parameters == 34_944
    assert [row.receptive_field for row in rows] == [1, 11, 19]


def test_the_paper_s_table() -> None:
    variant = VARIANTS["lecun1998"]
    rows = calculate(1, 32, steps_of(variant))
    assert [row.shape for row in rows] == [
        *("1x32x32", "6x28x28", "6x14x14", "16x10x10", "16x5x5", "120x1x1", "84", "10"),
    ]
    assert [row.parameters for row in rows[1:]] == [156, 12, 1_516, 32, 48_120, 10_164, 0]
    assert [row.connections for row in rows[1:]] == [122_304, 5_880, 151_600, 2_000, 48_120, 10_164, 840]
    assert totals(rows)[:2] == (60_000, 340_908)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_presets_agree_with_the_network_as_data(name: str) -> None:
    variant = VARIANTS[name]
    shapes = {stage: shape for stage, shape in stage_shapes(variant).items() if stage != "flatten"}
    rows = calculate(variant.input_channels, variant.input_size, steps_of(variant))
    assert [row.shape for row in rows] == ["x".join(map(str, shape)) for shape in shapes.values()]
    assert [row.parameters for row in rows] == [parameters(variant)[stage] for stage in shapes]
    for stage, row in zip(shapes, rows):
        assert row.kind == "prototypes" or row.multiply_adds == multiply_adds(variant)[stage]
    assert [row.receptive_field for row in rows] == [receptive_fields(variant)[stage] for stage in shapes]
    if name == "lecun1998":
        assert totals(rows)[1] == connections(variant)


def test_what_does_not_divide_is_explained() -> None:
    assert "4 is no multiple of 3: the last row and column are seen by no window" in (
        calculate(1, 7, parse_stack(["--conv", "2@3s3"]))[-1].note
    )
    assert calculate(1, 11, parse_stack(["--pool", "2"]))[-1].note == (
        "9 is no multiple of 2: the last row and column are seen by no window"
    )
    assert calculate(1, 28, parse_stack(["--pool=2"]))[-1].note == ""
    assert calculate(1, 7, parse_stack(["--pool", "3s2"]))[-1].note == "windows overlap"
    padded = calculate(1, 32, parse_stack(["--conv", "6@5s2p1"]))[-1]  # windows reach padded row 32, the image's last
    assert (padded.size, padded.note) == (15, "29 is no multiple of 2: only padding is seen by no window")
    assert "the last 2 rows and columns" in calculate(1, 31, parse_stack(["--conv", "6@5s5p1"]))[-1].note
    gaps = calculate(1, 7, parse_stack(["--pool", "2s5"]))[-1]
    assert (gaps.size, gaps.note) == (2, "windows of 2 every 5 leave 3 between them unseen")


def test_a_dense_layer_sees_what_the_maps_before_it_see() -> None:
    rows = calculate(1, 5, parse_stack(["--pool", "2s5", "--dense", "10", "--dense", "3"]))
    assert [row.receptive_field for row in rows] == [1, 2, 2, 2]
    assert calculate(1, 8, parse_stack(["--conv", "1@3p1", "--dense", "2"]))[-1].receptive_field == 8
    assert calculate(1, 9, parse_stack(["--dense", "2"]))[-1].receptive_field == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conv", "5"], "--conv '5' wants channels and kernel, as 6@5"),
        (["--pool", "6@2"], "--pool '6@2' wants one number, as 2"),
        (["--conv", "6@0"], "has a zero"),
        (["--conv", "6x5"], "none of the forms"),
        (["--dense", "10s2"], "has neither stride nor padding"),
        (["--relu", "1"], "unknown layer '--relu'; known are --conv, --pool, --subsample, --dense"),
        (["--conv"], "--conv wants a value"),
        (["--conv", f"{'9' * 5000}@3"], "none of the forms"),
        (["--conv", "\u0663@\u0665"], "none of the forms"),
        (
            ["--conv", "6@5", "--conv", "6@9"],
            "layer 2, conv: a 9x9 kernel does not fit into 4x4; make it smaller, or pad",
        ),
        (["--dense", "9", "--pool", "2"], "layer 2, pool: there are no images any more after a dense layer"),
    ],
)
def test_a_stack_that_cannot_be_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        calculate(1, 8, parse_stack(arguments))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "0", "x32", "0x32", "32x", "3x0", "a", "9" * 5000])
def test_an_input_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--input"):
        parse_input(text)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    stack = ("--input", "3x32", "--conv", "6@5", "--pool", "2", "--dense=10")
    done = lenet_bench("layers", *stack, cwd=tmp_path, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    assert "floor((32 + 2*0 - 5) / 1) + 1 = 28" in done.stdout
    assert "6*14*14 = 1176 inputs" in done.stdout
    done = in_this_process("layers", "lecun1998", cwd=tmp_path)
    assert "60,000" in done.stdout and "340,908" in done.stdout
    done = in_this_process("layers", "resnet", cwd=tmp_path)
    assert done.returncode == 2 and "unknown preset 'resnet'" in done.stderr
    done = in_this_process("layers", "--input", "", "--pool", "2", cwd=tmp_path)
    assert done.returncode == 2 and "--input '' is neither a size" in done.stderr
    done = in_this_process("layers", "lenet5", "--input", "64", cwd=tmp_path)
    assert done.returncode == 2 and "--input '64' has no effect on the preset lenet5" in done.stderr
