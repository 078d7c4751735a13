"""The reference itself: its gradient against finite differences, and one set of layers against the other."""

from __future__ import annotations

import numpy as np
import pytest

from backends import lenet_numpy
from backends.interface import Setup
from backends.lenet import VARIANTS, initial_weights
from backends.lenet_numpy import LeNet, softmax_cross_entropy
from backends.numpy_layers import LAYERS
from bench.data import synthetic


def loss_at(network: LeNet, images: np.ndarray, labels: np.ndarray) -> float:
    return float(softmax_cross_entropy(network.forward(images)["dense3"], labels)[0])


@pytest.mark.parametrize("mode", list(LAYERS))
@pytest.mark.parametrize("name", list(VARIANTS))
def test_gradients_agree_with_central_differences(name: str, mode: str) -> None:
    variant = VARIANTS[name]
    weights = {key: value.astype(np.float64) for key, value in initial_weights(variant).items()}
    network = LeNet(variant, weights, LAYERS[mode])
    images, labels = (values[0] for values in synthetic(variant.input_size).batches(1, 3))
    images = images.astype(np.float64)
    stages = network.forward(images)
    network.backward(stages, softmax_cross_entropy(stages["dense3"], labels)[1])
    gradients = {key: value.copy() for key, value in network.gradients.items()}
    random = np.random.default_rng(0)
    for key, value in weights.items():
        for _ in range(3):
            place = tuple(random.integers(0, size) for size in value.shape)
            # Small enough to step over no kink of ReLU, large enough that rounding stays below 1e-6.
            nudge, was = 1e-6, value[place]
            value[place] = was + nudge
            above = loss_at(network, images, labels)
            value[place] = was - nudge
            below = loss_at(network, images, labels)
            value[place] = was
            expected = (above - below) / (2 * nudge)
            assert gradients[key][place] == pytest.approx(expected, rel=1e-5, abs=1e-8), (key, place)


@pytest.mark.parametrize("kind", ["average", "max"])
def test_pooling_of_an_odd_size_leaves_the_last_row_out_both_ways(kind: str) -> None:
    x = np.random.default_rng(0).random((2, 3, 5, 5))
    dy = np.random.default_rng(1).random((2, 3, 2, 2))
    results = [(layers.pool(x, 2, kind), layers.pool_backward(dy, x, 2, kind)) for layers in LAYERS.values()]
    for values in zip(*results):
        np.testing.assert_allclose(values[0], values[1], rtol=1e-14)
    assert (results[0][1][:, :, 4, :] == 0).all()


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    loss, gradient = softmax_cross_entropy(np.array([[1e4, 0.0, -1e4]]), np.array([1]))
    assert loss == pytest.approx(1e4)
    np.testing.assert_allclose(gradient, [[1, -1, 0]])


def test_float32_stays_float32_through_a_step() -> None:
    variant = VARIANTS["modern"]
    trainer = lenet_numpy.build(variant, initial_weights(variant), Setup("im2col"))
    trainer.train(trainer.put(*synthetic(32).batches(1, 2)))
    assert {value.dtype for value in trainer.weights().values()} == {np.dtype("float32")}
    assert {value.dtype for value in trainer.network.gradients.values()} == {np.dtype("float32")}
