"""What every backend must do, whoever wrote it. A new backend inherits all of this by being registered."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

import backends
from backends.interface import Setup, Unsupported
from backends.lenet import VARIANTS, initial_weights, stage_shapes, weight_shapes, weights_sha256
from bench.data import synthetic
from bench.equivalence import compare_training
from bench.lesson import teach
from tests.conformance.conftest import backend_names, skip_what_cannot_run_here


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cells = [
        (entry.name, mode.name)
        for entry in backends.registry().values()
        if entry.name in backend_names(metafunc.config)
        for mode in entry.modes
    ]
    if "mode" in metafunc.fixturenames:
        metafunc.parametrize(("backend", "mode"), cells, ids=["-".join(cell) for cell in cells])
    elif "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", list(dict.fromkeys(name for name, _ in cells)))


@pytest.fixture
def module(request: pytest.FixtureRequest, backend: str) -> ModuleType:
    """The backend's module; a mode that this machine lacks something for is skipped, with the reason."""
    module = backends.load(backends.registry()[backend])
    if "mode" in request.fixturenames:
        skip_what_cannot_run_here(module, request.getfixturevalue("mode"))
    return module


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_training_follows_the_reference_for_ten_steps(
    module: ModuleType, backend: str, mode: str, variant: str, precision: str
) -> None:
    network = VARIANTS[variant]
    setup = Setup(mode, precision=precision, learning_rate=network.learning_rate)
    if not backends.registry()[backend].defines(mode, variant):
        with pytest.raises(Unsupported, match=r"^variant: "):
            module.build(network, initial_weights(network), setup)
        return
    trainer = module.build(network, initial_weights(network), setup)
    proof = compare_training(trainer, network, precision, teach(network, 8, (1, 10), setup.learning_rate))
    assert [found for found in proof.comparisons if not found.held] == []
    assert proof.shapes == stage_shapes(network)


def test_a_trainer_starts_from_the_weights_it_is_given(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["lenet5"]
    for seed in (0, 1):
        weights = initial_weights(variant, seed)
        trainer = module.build(variant, weights, Setup(mode))
        assert weights_sha256(trainer.weights()) == weights_sha256(weights)


def test_the_caller_keeps_his_weights(module: ModuleType, mode: str) -> None:
    """What `build` is given and what `weights` returns are nobody else's memory."""
    variant = VARIANTS["lenet5"]
    given = initial_weights(variant)
    before = {name: value.copy() for name, value in given.items()}
    trainer = module.build(variant, given, Setup(mode))
    returned = trainer.weights()
    chunk = trainer.put(*synthetic(28).batches(2, 4))
    trainer.wait(trainer.train(chunk))
    for name, value in before.items():
        np.testing.assert_array_equal(given[name], value)
        np.testing.assert_array_equal(returned[name], value)
        assert not np.array_equal(trainer.weights()[name], value)


def test_weights_have_canonical_names_and_shapes(module: ModuleType, backend: str, mode: str) -> None:
    for variant in (one for one in VARIANTS.values() if backends.registry()[backend].defines(mode, one.name)):
        trainer = module.build(variant, initial_weights(variant), Setup(mode))
        assert {name: value.shape for name, value in trainer.weights().items()} == weight_shapes(variant)


def test_two_trainers_in_one_process_do_not_share_weights(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["lenet5"]
    first, second = (module.build(variant, initial_weights(variant), Setup(mode)) for _ in range(2))
    before = second.weights()
    first.wait(first.train(first.put(*synthetic(28).batches(1, 4))))
    for name, value in second.weights().items():
        np.testing.assert_array_equal(value, before[name])


def test_float32_after_float64_in_one_process_is_float32(module: ModuleType, mode: str) -> None:
    """Process-wide switches are assigned by every build, so the order of trainers does not matter."""
    variant = VARIANTS["lenet5"]
    for precision in ("float64", "float32", "float64"):
        trainer = module.build(variant, initial_weights(variant), Setup(mode, precision=precision))
        stages = trainer.stages(trainer.put(*synthetic(28).batches(1, 2)))
        assert {str(value.dtype) for value in stages.values()} == {precision}


def test_a_trainer_built_from_another_s_weights_goes_on_to_the_same_bits(module: ModuleType, mode: str) -> None:
    """What a training that was killed and resumed rests on."""
    variant = VARIANTS["lenet5"]
    images, labels = synthetic(28).batches(6, 16)
    whole = module.build(variant, initial_weights(variant), Setup(mode))
    for part in (slice(0, 3), slice(3, 6)):
        whole.wait(whole.train(whole.put(images[part], labels[part])))
    first = module.build(variant, initial_weights(variant), Setup(mode))
    first.wait(first.train(first.put(images[:3], labels[:3])))
    second = module.build(variant, first.weights(), Setup(mode))
    second.wait(second.train(second.put(images[3:], labels[3:])))
    for name, value in whole.weights().items():
        np.testing.assert_array_equal(second.weights()[name], value)


def test_looking_at_stages_trains_nothing(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["lenet5"]
    trainer = module.build(variant, initial_weights(variant), Setup(mode))
    trainer.stages(trainer.put(*synthetic(28).batches(1, 2)))
    assert weights_sha256(trainer.weights()) == weights_sha256(initial_weights(variant))


def test_one_loss_comes_back_for_every_step(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["lenet5"]
    trainer = module.build(variant, initial_weights(variant), Setup(mode))
    for steps in (1, 3):
        losses = trainer.wait(trainer.train(trainer.put(*synthetic(28).batches(steps, 4))))
        assert isinstance(losses, np.ndarray)
        assert losses.shape == (steps,)
        assert np.isfinite(losses).all()


def test_a_batch_of_one_trains(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["tanh"]
    trainer = module.build(variant, initial_weights(variant), Setup(mode))
    assert trainer.wait(trainer.train(trainer.put(*synthetic(32).batches(2, 1)))).shape == (2,)


def test_weights_live_on_the_cpu_when_that_was_asked_for(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["lenet5"]
    trainer = module.build(variant, initial_weights(variant), Setup(mode))
    trainer.wait(trainer.train(trainer.put(*synthetic(28).batches(1, 2))))
    assert trainer.device() == "cpu"


@pytest.mark.parametrize("field", ["mode", "device", "precision"])
def test_what_a_backend_cannot_do_is_refused_with_the_part_and_the_reason(
    module: ModuleType, mode: str, field: str
) -> None:
    setup = replace(Setup(mode), **{field: "nonsense"})
    variant = VARIANTS["lenet5"]
    with pytest.raises(Unsupported, match=rf"^{field}: ") as refusal:
        module.build(variant, initial_weights(variant), setup)
    assert refusal.value.part == field


def test_cuda_without_a_gpu_is_refused_in_one_line_with_a_way_out(module: ModuleType, mode: str) -> None:
    variant = VARIANTS["lenet5"]
    try:
        trainer = module.build(variant, initial_weights(variant), Setup(mode, device="cuda"))
    except Unsupported as refusal:
        assert refusal.part == "device"
        assert "\n" not in str(refusal)
        assert "--device cpu" in str(refusal)
    else:
        assert trainer.device().startswith("cuda")


def test_switches_and_version_are_there_for_the_record(module: ModuleType, backend: str) -> None:
    assert module.version
    switches = module.switches()
    assert switches
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in switches.items())
    assert module.peak_device_bytes() is None or module.peak_device_bytes() > 0
