"""What every backend must do, whoever wrote it. A new backend inherits all of this by being registered."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
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


VARIANT = VARIANTS["lenet5"]
# Frameworks compile a step per shape and type, some for ten seconds: all tests here train on these two.
BATCH_SIZE, SINGLE = 8, ("tanh", "float32")  # that one is trained an image at a time


@dataclass(frozen=True)
class Life:
    """What one trainer of a mode went through, and two more beside it; weights are as they came back then."""

    given: dict[str, np.ndarray]  # the very arrays that `build` got
    returned: dict[str, np.ndarray]  # the very arrays that `weights` returned before anything else
    start: dict[str, np.ndarray]  # copies of these, made at once
    looked: dict[str, np.ndarray]  # after `stages`
    first: dict[str, np.ndarray]  # after a chunk of one step
    last: dict[str, np.ndarray]  # after another of three
    losses: tuple[np.ndarray, np.ndarray]
    device: str
    bystander: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # of one that did nothing, before and after
    heir: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # of one built from `first`, before and after the three


@functools.cache
def life(module: ModuleType, mode: str) -> Life:
    """One life for the tests that only look at it: to train again for each of them is to compile again."""
    given = initial_weights(VARIANT)
    trainer = module.build(VARIANT, given, Setup(mode))
    returned = trainer.weights()
    start = {name: value.copy() for name, value in returned.items()}
    bystander = module.build(VARIANT, initial_weights(VARIANT, seed=1), Setup(mode))
    before = bystander.weights()
    images, labels = synthetic(VARIANT.input_size).batches(4, BATCH_SIZE)
    one, three = trainer.put(images[:1], labels[:1]), trainer.put(images[1:], labels[1:])
    trainer.stages(one)
    looked = trainer.weights()
    losses = [trainer.wait(trainer.train(one))]
    first = trainer.weights()
    losses.append(trainer.wait(trainer.train(three)))
    last, after = trainer.weights(), bystander.weights()
    heir = module.build(VARIANT, first, Setup(mode))
    inherited = heir.weights()
    heir.wait(heir.train(heir.put(images[1:], labels[1:])))
    return Life(
        *(given, returned, start, looked, first, last, (losses[0], losses[1]), trainer.device()),
        bystander=(before, after),
        heir=(inherited, heir.weights()),
    )


@pytest.mark.slow
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
    # An image at a time, a network overshoots: after ten steps, float32 is off by 1e-5 of a loss, its tolerance.
    batch_size, checkpoints = (1, (1, 3)) if (variant, precision) == SINGLE else (BATCH_SIZE, (1, 10))
    proof = compare_training(trainer, network, precision, teach(network, batch_size, checkpoints, setup.learning_rate))
    assert [found for found in proof.comparisons if not found.held] == []
    assert proof.shapes == stage_shapes(network)


def test_a_trainer_starts_from_the_weights_it_is_given(module: ModuleType, mode: str) -> None:
    """To the bit: that weights cross from one framework to another as they are is a promise."""
    assert weights_sha256(life(module, mode).start) == weights_sha256(initial_weights(VARIANT))
    assert weights_sha256(life(module, mode).bystander[0]) == weights_sha256(initial_weights(VARIANT, seed=1))


def test_the_caller_keeps_his_weights(module: ModuleType, mode: str) -> None:
    """What `build` is given and what `weights` returns are nobody else's memory: they stay as they are, to the bit."""
    lived = life(module, mode)
    for name, value in initial_weights(VARIANT).items():
        np.testing.assert_array_equal(lived.given[name], value)
        np.testing.assert_array_equal(lived.returned[name], value)
        assert not np.array_equal(lived.last[name], value)


def test_weights_have_canonical_names_and_shapes(module: ModuleType, backend: str, mode: str) -> None:
    for variant in (one for one in VARIANTS.values() if backends.registry()[backend].defines(mode, one.name)):
        trainer = module.build(variant, initial_weights(variant), Setup(mode))
        assert {name: value.shape for name, value in trainer.weights().items()} == weight_shapes(variant)


def test_two_trainers_in_one_process_do_not_share_weights(module: ModuleType, mode: str) -> None:
    """What nobody trained is what it was, to the bit."""
    before, after = life(module, mode).bystander
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name])


def test_float32_after_float64_in_one_process_is_float32(module: ModuleType, mode: str) -> None:
    """Process-wide switches are assigned by every build, so the order of trainers does not matter."""
    for precision in ("float64", "float32", "float64"):
        trainer = module.build(VARIANT, initial_weights(VARIANT), Setup(mode, precision=precision))
        stages = trainer.stages(trainer.put(*synthetic(28).batches(1, 2)))
        assert {str(value.dtype) for value in stages.values()} == {precision}


def test_a_trainer_built_from_another_s_weights_goes_on_to_the_same_bits(module: ModuleType, mode: str) -> None:
    """What a training that was killed and resumed rests on, in one process and on one kernel: the promise is bits."""
    lived = life(module, mode)
    for name, value in lived.first.items():
        np.testing.assert_array_equal(lived.heir[0][name], value)
    for name, value in lived.last.items():
        np.testing.assert_array_equal(lived.heir[1][name], value)
        assert not np.array_equal(lived.first[name], value)


def test_looking_at_stages_trains_nothing(module: ModuleType, mode: str) -> None:
    assert weights_sha256(life(module, mode).looked) == weights_sha256(initial_weights(VARIANT))


def test_one_loss_comes_back_for_every_step(module: ModuleType, mode: str) -> None:
    for steps, losses in zip((1, 3), life(module, mode).losses):
        assert isinstance(losses, np.ndarray)
        assert losses.shape == (steps,)
        assert np.isfinite(losses).all()


def test_weights_live_on_the_cpu_when_that_was_asked_for(module: ModuleType, mode: str) -> None:
    assert life(module, mode).device == "cpu"


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
