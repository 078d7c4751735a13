"""Options and hooks of the timed test, for a conductor's worker and for `pytest bench` on its own."""

from __future__ import annotations

import os
import platform
from typing import Any

from bench import ground
from bench.turns import ADDRESS_VARIABLE, UNTRIED, Turns, die_with_parent

die_with_parent()
if ADDRESS_VARIABLE not in os.environ:
    # Alone, nobody has laid the ground yet; frameworks read these when they are imported.
    os.environ.update(ground.variables(threads=1, allocator="system"))

import pytest  # noqa: E402  # after the thread variables, because plugins may import NumPy

import backends  # noqa: E402
from backends.interface import Unsupported  # noqa: E402
from bench.canary import NotTried  # noqa: E402
from bench.cases import Case  # noqa: E402
from bench.equivalence import Mismatch  # noqa: E402
from bench.subject import Missing  # noqa: E402
from bench.worker import Order, read_order  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lenet-bench")
    group.addoption(
        "--lenet-order",
        metavar="FILE",
        action="append",
        help="a conductor's order (JSON); without one, all cases",
    )
    group.addoption("--lenet-backend", metavar="NAME", help="only this backend's cases")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "order" not in metafunc.fixturenames:
        return
    paths = metafunc.config.getoption("--lenet-order")
    if paths:
        orders = [read_order(path) for path in paths]
    else:
        only = metafunc.config.getoption("--lenet-backend")
        orders = [
            Order(Case(entry.name, mode.name))
            for entry in backends.registry().values()
            for mode in entry.modes
            if only in (None, entry.name)
        ]
    metafunc.parametrize("order", orders, ids=[order.case.id for order in orders])


@pytest.fixture
def turns(order: Order) -> Turns | None:
    """The connection to the conductor, or None where the test runs on its own."""
    return Turns.connect(order.case.id) if ADDRESS_VARIABLE in os.environ else None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Tell the conductor why a case failed, in one line."""
    yield
    turns = getattr(item, "funcargs", {}).get("turns")
    if call.excinfo is None or turns is None:
        return
    error = call.excinfo.value
    if isinstance(error, (EOFError, OSError)) and turns.connection.closed:
        return
    nobodys_fault = isinstance(error, (Missing, Unsupported, NotTried))
    status = "unavailable" if nobodys_fault else "failed"
    kind = "" if nobodys_fault else f"{type(error).__name__}: "
    flag = "mismatch" if isinstance(error, Mismatch) else UNTRIED if isinstance(error, NotTried) else ""
    lines = str(error).strip().splitlines() or [""]
    try:
        turns.failed(status, f"{kind}{lines[0]}"[:500], flag)
    except OSError:
        os._exit(1)  # the conductor is gone, and with it everybody who could read this


def pytest_benchmark_generate_machine_info() -> dict[str, str]:
    """Asked of the standard library: py-cpuinfo takes 2.5 s per process, and the harness records more."""
    return {"node": platform.node(), "machine": platform.machine(), "python_version": platform.python_version()}


def pytest_benchmark_generate_commit_info() -> dict[str, str]:
    """The harness records the commit once for the run."""
    return {"id": "", "time": ""}
