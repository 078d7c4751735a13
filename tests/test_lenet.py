"""The network as data: known answers, taken from the papers and not from this code."""

from __future__ import annotations

import numpy as np
import pytest

from backends.lenet import (
    INITIALISATIONS,
    TABLE_I,
    VARIANTS,
    connected,
    connections,
    drawn_weights,
    initial_weights,
    multiply_adds,
    output_size,
    parameters,
    receptive_fields,
    stage_shapes,
    step_multiply_adds,
    weight_shapes,
    weights_sha256,
    widths,
)
from backends.prototypes import prototypes

SIDES = {
    "lenet5": [28, 28, 14, 10, 5, 400, 120, 84, 10],
    "tanh": [32, 28, 14, 10, 5, 1, 120, 84, 10],
    "modern": [32, 28, 14, 10, 5, 400, 120, 84, 10],
    "lecun1998": [32, 28, 14, 10, 5, 1, 120, 84, 10],
    "mlp": [28, 784, 100, 10],
    "cnn": [28, 26, 13, 11, 5, 3, 576, 64, 10],
}
PARAMETERS = {
    **dict.fromkeys(("lenet5", "tanh", "modern"), 61_706),
    "lecun1998": 60_000,  # LeCun et al. 1998, II.B
    "mlp": 79_510,
    "cnn": 93_322,
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_stages_have_the_sizes_of_the_textbook(name: str) -> None:
    assert [shape[-1] for shape in stage_shapes(VARIANTS[name]).values()] == SIDES[name]


def test_the_default_variant_goes_28_28_14_10_5_400_with_6_and_16_channels() -> None:
    shapes = stage_shapes(VARIANTS["lenet5"])
    assert list(shapes) == ["input", "conv1", "pool1", "conv2", "pool2", "flatten", "dense1", "dense2", "dense3"]
    assert [shapes[name][0] for name in ("conv1", "pool1", "conv2", "pool2")] == [6, 6, 16, 16]


@pytest.mark.parametrize("name", list(VARIANTS))
def test_parameters(name: str) -> None:
    assert sum(parameters(VARIANTS[name]).values()) == PARAMETERS[name]


def test_the_paper_s_network_has_the_paper_s_counts_layer_by_layer() -> None:
    """LeCun et al. 1998, II.B: trainable parameters of C1, S2, C3, S4, C5 and F6, and all connections."""
    variant = VARIANTS["lecun1998"]
    own = parameters(variant)
    assert [own[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "dense2", "dense3")] == [
        *(156, 12, 1_516, 32, 48_120, 10_164, 0),
    ]
    assert connections(variant) == 340_908


def test_table_1() -> None:
    """Each map of S2 goes into ten maps of C3; those see three, four or all six, and no two see the same."""
    assert [sum(place in inputs for inputs in TABLE_I) for place in range(6)] == [10] * 6
    assert [len(inputs) for inputs in TABLE_I] == [3] * 6 + [4] * 9 + [6]
    assert len(set(TABLE_I)) == 16
    mask = connected(VARIANTS["lecun1998"])["conv2.weight"]
    assert mask.shape == (16, 6, 1, 1) and mask.sum() == 60
    assert mask[9, :, 0, 0].tolist() == [1, 0, 0, 1, 1, 1]


def test_weights_that_are_not_connected_are_zero_whoever_draws_them() -> None:
    variant = VARIANTS["lecun1998"]
    off = connected(variant)["conv2.weight"][:, :, 0, 0] == 0
    for weights in (initial_weights(variant), *(drawn_weights(variant, kind, 0) for kind in INITIALISATIONS)):
        assert (weights["conv2.weight"][off] == 0).all()
        assert (weights["conv2.weight"][~off] != 0).all()


def test_a_map_is_drawn_by_the_inputs_that_it_has() -> None:
    """LeCun et al. 1998: within 2.4 / F_i; the first map of C3 sees three maps of S2, the last one six."""
    weights = drawn_weights(VARIANTS["lecun1998"], "paper", 0)["conv2.weight"]
    bounds = [2.4 / (25 * len(inputs)) for inputs in TABLE_I]
    largest = np.abs(weights).max((1, 2, 3))
    assert (largest <= bounds).all() and (largest > 0.9 * np.array(bounds)).all()


def test_prototypes_are_ten_different_pictures_of_plus_and_minus_one() -> None:
    found = prototypes()
    assert found.shape == (10, 7 * 12)
    assert set(np.unique(found)) == {-1, 1}
    distances = ((found[:, None] - found) ** 2).sum(2)
    assert distances[~np.eye(10, dtype=bool)].min() >= 4 * 5, "any two differ in five pixels at least"
    assert found[1].reshape(12, 7)[0].tolist() == [-1, -1, -1, 1, -1, -1, -1], "the top of the 1"


def test_multiply_adds_of_the_default_variant() -> None:
    variant = VARIANTS["lenet5"]
    counts = multiply_adds(variant)
    assert [counts[name] for name in ("conv1", "conv2", "dense1", "dense2", "dense3")] == [
        117_600,
        240_000,
        48_000,
        10_080,
        840,
    ]
    assert sum(counts.values()) == 416_520
    assert step_multiply_adds(variant) == 1_131_960


def test_receptive_fields() -> None:
    assert list(receptive_fields(VARIANTS["lenet5"]).values()) == [1, 5, 6, 14, 16, 16, 28, 28, 28]
    assert receptive_fields(VARIANTS["tanh"])["conv3"] == 32


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [(100, 5, 1, 0, 96), (100, 5, 1, 1, 98), (28, 5, 1, 2, 28), (28, 2, 2, 0, 14), (5, 2, 2, 0, 2), (5, 5, 1, 0, 1)],
)
def test_output_sizes(size: int, kernel: int, stride: int, padding: int, expected: int) -> None:
    assert output_size(size, kernel, stride, padding) == expected


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="7x7 kernel does not fit into 5x5 padded by 0"):
        output_size(5, 7)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_initial_weights_fit_and_no_bias_is_zero(name: str) -> None:
    variant = VARIANTS[name]
    weights = initial_weights(variant)
    assert {key: value.shape for key, value in weights.items()} == weight_shapes(variant)
    assert {value.dtype for value in weights.values()} == {np.dtype("float32")}
    assert all((value != 0).all() for key, value in weights.items() if key.endswith(".bias"))


def test_initial_weights_depend_on_the_seed_alone() -> None:
    variant = VARIANTS["lenet5"]
    hashes = [weights_sha256(initial_weights(variant, seed)) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_weights_hash_sees_one_bit_and_ignores_order_and_precision() -> None:
    weights = initial_weights(VARIANTS["lenet5"])
    backwards = {name: weights[name].astype(np.float64) for name in reversed(weights)}
    assert weights_sha256(backwards) == weights_sha256(weights)
    nudged = {**weights, "conv1.bias": np.nextafter(weights["conv1.bias"], np.float32(1))}
    assert weights_sha256(nudged) != weights_sha256(weights)


def test_widths_are_what_a_layer_wants_to_be_told() -> None:
    assert widths(VARIANTS["tanh"])["flatten"] == 120
    assert widths(VARIANTS["lenet5"])["flatten"] == 400
