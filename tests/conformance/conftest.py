"""Conformance tests run in each backend's environment; `--backend NAME` says in whose."""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType

import pytest

import backends
from backends.interface import Setup, Unsupported
from backends.lenet import VARIANTS, initial_weights


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", metavar="NAME", help="only this backend; by default, every one that is installed")


def backend_names(config: pytest.Config) -> list[str]:
    """The backends to test here."""
    named = config.getoption("--backend")
    if named:
        return [named]
    return [name for name, entry in backends.registry().items() if importlib.util.find_spec(entry.framework)]


def skip_what_cannot_run_here(module: ModuleType, mode: str) -> None:
    """A mode may need what not every machine has, a compiler for one; that is no fault of the backend."""
    if reason := lacking(module, mode):
        pytest.skip(reason)


@functools.cache
def lacking(module: ModuleType, mode: str) -> str:
    """Why a mode cannot run here; empty where it can. Asked once, because some backends take half a second to build."""
    variant = VARIANTS["lenet5"]
    try:
        module.build(variant, initial_weights(variant), Setup(mode))
    except Unsupported as refusal:
        return str(refusal)
    return ""
