"""From a selection to cases, and what is refused on the way."""

from __future__ import annotations

import pytest

from backends import LANES, Entry, Mode, registry
from bench.cases import Case, Selection, UsageError, expand, impossible


def test_the_default_is_every_mode_of_every_backend() -> None:
    cases = expand(Selection(), registry())
    assert len(cases) >= 9
    assert {case.backend for case in cases} == {"numpy", "torch", "tensorflow", "jax", "mxnet"}
    assert {(c.variant, c.batch_size, c.precision, c.device, c.threads) for c in cases} == {
        ("lenet5", 128, "float32", "cpu", 1)
    }


def test_a_lane_is_a_choice_of_modes() -> None:
    tutorial, expert = (expand(Selection(lanes=(lane,)), registry()) for lane in LANES)
    assert {case.id for case in tutorial} | {case.id for case in expert} == {
        c.id for c in expand(Selection(), registry())
    }
    assert {case.mode for case in tutorial}.isdisjoint({"space_to_depth", "xla"})
    assert {case.backend for case in expert} == {"numpy", "torch", "tensorflow", "jax", "mxnet"}


def test_a_mode_of_one_device_is_a_case_there_or_where_it_is_named() -> None:
    def modes(**chosen: tuple[str, ...]) -> set[str]:
        return {case.mode for case in expand(Selection(("torch",), **chosen), registry())}

    assert "cuda_graph" not in modes()
    assert "cuda_graph" in modes(devices=("cuda",))
    assert modes(modes=("cuda_graph",)) == {"cuda_graph"}


def test_neighbours_of_lenet_are_in_one_mode_of_each_backend() -> None:
    cases = expand(Selection(variants=("lenet5", "lecun1998")), registry())
    assert [(case.backend, case.mode) for case in cases if case.variant == "lecun1998"] == [
        ("numpy", "im2col"),
        ("torch", "functional"),
        ("tensorflow", "function"),
        ("jax", "jit"),
        ("mxnet", "hybridize"),
    ]
    assert len([case for case in cases if case.variant == "lenet5"]) == len(expand(Selection(), registry()))


def test_a_selection_is_a_product_and_ids_are_unique() -> None:
    selection = Selection(
        ("numpy", "jax"), ("im2col", "jit"), batch_sizes=(1, 64, 1), precisions=("float32", "float64")
    )
    cases = expand(selection, registry())
    assert len({case.id for case in cases}) == len(cases) == 8
    assert cases[0].id == "numpy-im2col-lenet5-cpu-float32-b1-t1"


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(("theano",)), "unknown backend 'theano'; known are jax, mxnet, numpy, tensorflow, torch"),
        (Selection(modes=("fast",)), "unknown mode 'fast'"),
        (Selection(lanes=("fast",)), "unknown lane 'fast'; known are expert, tutorial"),
        (
            Selection(variants=("alexnet",)),
            "unknown variant 'alexnet'; known are cnn, lecun1998, lenet5, mlp, modern, tanh",
        ),
        (Selection(devices=("tpu",)), "unknown device 'tpu'; known are cpu, cuda"),
        (Selection(precisions=("int8",)), "unknown precision 'int8'"),
        (Selection(batch_sizes=(0,)), "batch size 0 is not a number of at least 1"),
        (Selection(threads=(-2,)), "threads -2 is not a number of at least 1"),
        (
            Selection(("numpy", "jax"), ("jit",)),
            "backend numpy has no mode jit; its modes are loops (tutorial), im2col (tutorial)",
        ),
        (
            Selection(("torch",), ("eager",), ("mlp",)),
            "backend torch defines mlp in these of its modes only: functional",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        expand(selection, registry())
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("mxnet", "imperative", device="cuda"), "mxnet has no cuda code path here; run with --device cpu"),
        (Case("numpy", "im2col", precision="tf32"), "numpy has no tf32 here; it has float32, float64"),
        (
            Case("torch", "cuda_graph"),
            "mode cuda_graph of torch exists on cuda only; run with --device cuda",
        ),
        (Case("torch", "eager", precision="tf32"), "tf32 exists on CUDA devices only; run with --device cuda"),
        (Case("torch", "eager", device="cuda", precision="tf32"), ""),
        (Case("torch", "eager"), ""),
    ],
)
def test_what_the_registry_rules_out_has_a_reason(case: Case, reason: str) -> None:
    assert impossible(case, registry()[case.backend]) == reason


def test_a_variant_that_a_backend_does_not_define_has_a_reason() -> None:
    entry = Entry("half", "half", "half", (Mode("only", "tutorial", "one"),), variants=("lenet5",))
    assert impossible(Case("half", "only", "tanh"), entry) == "mode only of half does not define the variant tanh"


@pytest.mark.parametrize(
    ("backends", "modes", "lanes"),
    [
        (("numpy",), ("im2col", "eager"), ()),
        (("torch", "jax"), ("jit", "eager", "hybridize"), ()),
        (("numpy",), ("im2col", "space_to_depth"), ("tutorial",)),
        ((), ("im2col", "compile"), ("tutorial",)),
    ],
)
def test_a_mode_that_would_not_be_measured_is_refused(
    backends: tuple[str, ...], modes: tuple[str, ...], lanes: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError, match=r"^(mode|backend) .*"):
        expand(Selection(backends=backends, modes=modes, lanes=lanes), registry())
