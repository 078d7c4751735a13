"""A worker's side of taking turns: it computes only between `begin` and `end` of its turn.

The conductor (`conductor.py`) holds the other end of the connection. Messages are JSON objects. The
worker says `hello`, `ready`, `done` after each turn, and at last `finished` or `failed`. The
conductor answers `ready` with a number of rounds, and grants every turn with a message of its own;
the last one is for the work after the rounds. Waiting is a blocking read, which costs nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from typing import Any

from bench import ground

ADDRESS_VARIABLE = "LENET_BENCH_CONDUCTOR"
TOKEN_VARIABLE = "LENET_BENCH_TOKEN"
WORKER_VARIABLE = "LENET_BENCH_WORKER"
PARENT_VARIABLE = "LENET_BENCH_PARENT"


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
    def connect(cls) -> Turns:
        """To the conductor that started this process, as its environment names it."""
        host, port = os.environ[ADDRESS_VARIABLE].split(":")
        turns = cls(Client((host, int(port)), authkey=bytes.fromhex(os.environ[TOKEN_VARIABLE])))
        send(turns.connection, {"says": "hello", "worker": os.environ[WORKER_VARIABLE]})
        return turns

    def ready(self, report: dict[str, Any]) -> int:
        """Announce what a round costs; the number of rounds granted, on the CPUs that all cases share."""
        send(self.connection, {"says": "ready", **report})
        grant = receive(self.connection)
        if grant["cpus"]:
            ground.pin(set(grant["cpus"]))
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
        grant = receive(self.connection)
        if grant.get("cpus"):
            ground.pin(set(grant["cpus"]))

    def finished(self, record: dict[str, Any]) -> None:
        send(self.connection, {"says": "finished", "record": record})

    def failed(self, status: str, reason: str, flag: str) -> None:
        send(self.connection, {"says": "failed", "status": status, "reason": reason, "flag": flag})


class Counters:
    """What this process has used: CPU seconds of all threads, seconds that threads were ready to run
    and had no CPU (Linux), minor page faults, involuntary switches."""

    def __init__(self, cpu_seconds: float, waited_seconds: float, page_faults: int, switches: int) -> None:
        self.cpu_seconds, self.waited_seconds = cpu_seconds, waited_seconds
        self.page_faults, self.switches = page_faults, switches

    @classmethod
    def now(cls) -> Counters:
        try:
            import resource
        except ImportError:
            return cls(time.process_time(), 0.0, 0, 0)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.process_time(), run_queue_seconds(), usage.ru_minflt, usage.ru_nivcsw)

    def since(self, before: Counters) -> dict[str, float | int]:
        return {
            "cpu_seconds": self.cpu_seconds - before.cpu_seconds,
            "waited_seconds": self.waited_seconds - before.waited_seconds,
            "page_faults": self.page_faults - before.page_faults,
            "involuntary_switches": self.switches - before.switches,
        }


def run_queue_seconds() -> float:
    """Seconds that the threads of this process have waited for a CPU since they started; 0 where nobody counts.

    The second number of /proc/<pid>/task/<tid>/schedstat, in nanoseconds (Linux, Documentation/scheduler/sched-stats).
    """
    waited = 0
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as file:
                waited += int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return waited / 1e9


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
