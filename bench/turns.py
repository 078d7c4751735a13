"""A worker's side of taking turns: it computes only between `begin` and `end` of its turn.

The conductor (`conductor.py`) holds the other end of the connection. Messages are JSON objects. The
worker says `hello`, `ready`, `done` after each turn, and at last `finished` or `failed`. The
conductor answers `hello` with CPUs and `ready` with a number of rounds, and grants every turn with a
message of its own; the last one is for the work after the rounds. Waiting is a blocking read, which
costs nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from typing import Any

from bench import ground, quota

ADDRESS_VARIABLE = "LENET_BENCH_CONDUCTOR"
TOKEN_VARIABLE = "LENET_BENCH_TOKEN"
PROCESS_VARIABLE = "LENET_BENCH_PROCESS"
PARENT_VARIABLE = "LENET_BENCH_PARENT"
UNTRIED = "untried"  # the flag of a case that the machine kept from being tried


def send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(connection.recv_bytes())
    return message


class Turns:
    """The connection to the conductor. Its methods raise EOFError once the conductor is gone."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.before = Counters.now()

    @classmethod
    def connect(cls, worker: str) -> Turns:
        """To the conductor that started this process, as its environment names it, on behalf of one case.

        Comes back once that case may begin, with this process on the CPUs that are free for it: thread
        pools that start later see only those.
        """
        host, port = os.environ[ADDRESS_VARIABLE].split(":")
        turns = cls(Client((host, int(port)), authkey=bytes.fromhex(os.environ[TOKEN_VARIABLE])))
        send(turns.connection, {"says": "hello", "worker": worker, "process": os.environ[PROCESS_VARIABLE]})
        turns._pin(receive(turns.connection))
        return turns

    def _pin(self, grant: dict[str, Any]) -> None:
        if grant.get("cpus"):
            ground.pin(set(grant["cpus"]))

    def ready(self, report: dict[str, Any]) -> int:
        """Announce what a round costs; the number of rounds granted, on the CPUs that all cases share."""
        send(self.connection, {"says": "ready", **report})
        grant = receive(self.connection)
        self._pin(grant)
        return int(grant["rounds"])

    def begin(self, warm: Callable[[], Any] | None = None) -> None:
        """Wait for the turn, do the round untimed for the caches, as often as the conductor says."""
        grant = receive(self.connection)
        if warm is not None:
            for _ in range(grant["warm"]):
                warm()
        self.before = Counters.now()

    def end(self) -> None:
        """Give the turn back. The first thing after the clock stops."""
        spent = Counters.now().since(self.before)
        send(self.connection, {"says": "done", **spent})

    def after_rounds(self) -> None:
        """Wait for the last turn: what follows the rounds must not disturb those of others."""
        self._pin(receive(self.connection))

    def finished(self, record: dict[str, Any]) -> None:
        send(self.connection, {"says": "finished", "record": record})

    def failed(self, status: str, reason: str, flag: str) -> None:
        send(self.connection, {"says": "failed", "status": status, "reason": reason, "flag": flag})


Threads = dict[str, tuple[float, float]]


class Counters:
    """What this process has used: CPU seconds of all threads, what each of them ran and waited for a CPU
    (Linux), minor page faults, involuntary switches; and for how long CPU quotas have stopped its group."""

    def __init__(
        self, cpu_seconds: float, threads: Threads, page_faults: int, switches: int, throttled_seconds: float = 0.0
    ) -> None:
        self.clock, self.cpu_seconds, self.threads = time.perf_counter(), cpu_seconds, threads
        self.page_faults, self.switches, self.throttled_seconds = page_faults, switches, throttled_seconds

    @classmethod
    def now(cls) -> Counters:
        try:
            import resource
        except ImportError:
            return cls(time.process_time(), {}, 0, 0)
        usage, throttled = resource.getrusage(resource.RUSAGE_SELF), quota.throttled_seconds()
        return cls(time.process_time(), run_and_waited(), usage.ru_minflt, usage.ru_nivcsw, throttled)

    def since(self, before: Counters) -> dict[str, float | int]:
        """What was used in between. `lost_seconds`: so much earlier it would have been done, had it had its CPUs."""
        spent, wall, cpus = self.cpu_seconds - before.cpu_seconds, self.clock - before.clock, len(ground.allowed_cpus())
        # The kernel adds up what all CPUs of the group stood still, whichever process they were to run.
        throttled = min(self.throttled_seconds - before.throttled_seconds, max(0.0, cpus * wall - spent))
        waited = waited_for_others(self.threads, before.threads, spent - (cpus - 1) * wall, throttled)
        return {
            "cpu_seconds": spent,
            "waited_seconds": waited,
            "throttled_seconds": throttled,
            "lost_seconds": min(wall, (waited + throttled) / cpus),
            "page_faults": self.page_faults - before.page_faults,
            "involuntary_switches": self.switches - before.switches,
        }


def run_and_waited() -> Threads:
    """What each thread of this process has run, and waited for a CPU, in seconds; empty where nobody counts.

    The first two numbers of /proc/<pid>/task/<tid>/schedstat, in nanoseconds (Documentation/scheduler/sched-stats).
    """
    found = {}
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as file:
                run, waited = map(int, file.read().split()[:2])
            found[thread] = run / 1e9, waited / 1e9
    except (OSError, ValueError):
        return {}
    return found


def waited_for_others(now: Threads, before: Threads, own: float, throttled: float = 0.0) -> float:
    """Seconds that threads were ready to run and other processes had the CPU.

    A thread that waits while this process's other threads fill its CPUs, as Keras's `fit` makes them, is disturbed
    by nobody. `own` is for how long they did so at least: the CPU seconds of all, less what all CPUs but one can give.
    While a quota stops all of them, for `throttled` seconds, nobody else is to blame either.
    """
    total = 0.0
    for thread, (run, waited) in now.items():
        run_before, waited_before = before.get(thread, (0.0, 0.0))
        by_own_threads = max(0.0, own - (run - run_before))
        total += max(0.0, waited - waited_before - by_own_threads - throttled)
    return total


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however it ends (Linux).

    Elsewhere a worker notices at its next turn, by the end of the connection.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    if os.path.exists("/proc/self"):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != int(parent):
        os._exit(1)
