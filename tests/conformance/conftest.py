"""Conformance tests run in each backend's environment; `--backend NAME` says in whose."""

from __future__ import annotations

import importlib.util

import pytest

import backends


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", metavar="NAME", help="only this backend; by default, every one that is installed")


def backend_names(config: pytest.Config) -> list[str]:
    """The backends to test here."""
    named = config.getoption("--backend")
    if named:
        return [named]
    return [name for name, entry in backends.registry().items() if importlib.util.find_spec(entry.framework)]
