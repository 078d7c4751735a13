"""The reference against finite differences, and the NumPy backend, written apart from it, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from backends import lenet_numpy, registry
from backends.interface import Setup
from backends.lenet import VARIANTS, initial_weights
from backends.numpy_layers import LAYERS
from bench.data import synthetic
from bench.reference import Reference, backward, cross_entropy, forward, unpooled, windows_of


def loss_at(name: str, weights: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    return cross_entropy(forward(VARIANTS[name], weights, images)["dense3"], labels, VARIANTS[name].rubbish)[0]


@pytest.mark.parametrize("name", [*[n for n in VARIANTS if n != "cnn"], pytest.param("cnn", marks=pytest.mark.slow)])
def test_gradients_agree_with_central_differences(name: str) -> None:
    variant = VARIANTS[name]
    weights = {key: value.astype(np.float64) for key, value in initial_weights(variant).items()}
    images, labels = (values[0] for values in synthetic(variant.input_size).batches(1, 3))
    images = images.astype(np.float64)
    stages = forward(variant, weights, images)
    gradients = backward(variant, weights, stages, cross_entropy(stages["dense3"], labels, variant.rubbish)[1])
    assert set(gradients) == set(weights)
    random = np.random.default_rng(0)
    for key, value in weights.items():
        for _ in range(5):
            place = tuple(random.integers(0, size) for size in value.shape)
            if not value[place]:
                continue  # not connected
            # Small enough to step over no kink of ReLU, large enough that rounding stays below 1e-6.
            nudge, was = 1e-6, value[place]
            value[place] = was + nudge
            above = loss_at(name, weights, images, labels)
            value[place] = was - nudge
            below = loss_at(name, weights, images, labels)
            value[place] = was
            expected = (above - below) / (2 * nudge)
            assert gradients[key][place] == pytest.approx(expected, rel=1e-5, abs=1e-8), (key, place)


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name in VARIANTS for mode in LAYERS if registry()["numpy"].defines(mode, name)]
)
def test_the_numpy_backend_agrees_to_float64(name: str, mode: str) -> None:
    variant = VARIANTS[name]
    setup = Setup(mode, precision="float64", learning_rate=variant.learning_rate)
    trainer, reference = (
        lenet_numpy.build(variant, initial_weights(variant), setup),
        Reference(variant, setup.learning_rate),
    )
    images, labels = synthetic(variant.input_size).batches(2, 3)
    losses = trainer.wait(trainer.train(trainer.put(images, labels)))
    expected = [reference.step(*batch) for batch in zip(images, labels)]
    # They differ in the order of their sums and in how a processor rounds exponentials: 1e-15, however small a sum.
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    start = initial_weights(variant)
    for key, value in trainer.weights().items():
        moved = np.abs(reference.weights[key] - start[key]).max()
        assert moved > 0, key
        np.testing.assert_allclose(value, reference.weights[key], rtol=1e-12, atol=1e-8 * moved)


@pytest.mark.parametrize("kind", ["average", "max"])
def test_pooling_of_an_odd_size_leaves_the_last_row_out_both_ways(kind: str) -> None:
    x = np.random.default_rng(0).random((2, 3, 5, 5))
    d = np.random.default_rng(1).random((2, 3, 2, 2))
    dx = unpooled(d, windows_of(x, 2), x.shape, kind)
    assert (dx[:, :, 4, :] == 0).all()
    for layers in LAYERS.values():
        np.testing.assert_allclose(layers.pool_backward(d, x, 2, kind), dx, rtol=1e-12)


def test_a_class_for_rubbish_is_equation_9_of_the_paper() -> None:
    """E = mean of y_right + log(exp(-j) + sum of exp(-y)), with distances y of 3 samples, by hand."""
    distances, labels, j = np.random.default_rng(0).random((3, 10)) * 4, np.array([1, 7, 0]), 0.5
    energy = [y[label] + np.log(np.exp(-j) + np.exp(-y).sum()) for y, label in zip(distances, labels)]
    loss, gradient = cross_entropy(-distances, labels, -j)
    assert loss == pytest.approx(np.mean(energy), rel=1e-12)
    found = lenet_numpy.softmax_cross_entropy(-distances, labels, -j)
    assert found[0] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-12)


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    loss, gradient = lenet_numpy.softmax_cross_entropy(np.array([[1e4, 0.0, -1e4]]), np.array([1]))
    assert loss == pytest.approx(1e4)
    np.testing.assert_allclose(gradient, [[1, -1, 0]])


def test_float32_stays_float32_through_a_step() -> None:
    variant = VARIANTS["modern"]
    trainer = lenet_numpy.build(variant, initial_weights(variant), Setup("im2col"))
    trainer.train(trainer.put(*synthetic(32).batches(1, 2)))
    assert {value.dtype for value in trainer.weights().values()} == {np.dtype("float32")}
    assert {value.dtype for value in trainer.network.gradients.values()} == {np.dtype("float32")}
