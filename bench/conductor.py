"""Starts a process for every case and hands out turns, one process at a time, in random order.

A pass is a set of fresh processes. In a pass, all cases import, prove and warm up first, a few at a
time; then come sweeps: in each, every case takes one turn, a round, in an order drawn anew. So a slow
minute of the machine hits every case alike. A worker that crashes, hangs or refuses is one failed
case; the others go on.

In a series of batch sizes, where most of the time would go into starting processes, one process takes
all sizes of a mode, one after the other: each a test of its own in it, with its own turns.
"""

from __future__ import annotations

import itertools
import math
import os
import queue
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge, wait
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from backends import lenet
from bench import ground, quota, turns
from bench.cases import Case
from bench.control import controls_for, is_control
from bench.lesson import write_lesson
from bench.progress import names_of
from bench.results import Round, printable
from bench.subject import Slowdown, first_lesson
from bench.tree import lay_out
from bench.worker import Order, write_order

POLL_SECONDS = 0.05
LONGEST_LAST_WORDS = 300
SHARE_OF_MEMORY = 0.8
# One of these, drawn for every turn, is how many untimed rounds come before the timed one. Were it always one, timed
# rounds would be every other one, and what happens in every tenth step would fall on all of them or on none.
WARM_ROUNDS = (1, 1, 2)
# A round this long needs none: filling the caches again is less than a hundredth of it.
LONG_ROUND_SECONDS = 0.5
# A series leaves out batches larger than the first whose step takes longer: each is some 20 steps, with all proofs.
LONGEST_IN_SERIES_SECONDS = 1.0
LEFT_OUT = "left out"
Announced = tuple[str, str]  # the name of a process, and the case for which it asks to begin
NETWORK = Path(lenet.__file__).read_bytes()


@dataclass(frozen=True)
class Plan:
    """How long a pass is. A case whose round is longer than `case_seconds / sweeps` gets fewer rounds.

    With `one_process_per_mode`, cases that differ only in their batch size share a process.
    """

    sweeps: int = 80
    case_seconds: float = 4.0
    fewest_rounds: int = 3
    deadline_seconds: float = 300.0
    allocator: str = "steady"
    process_bytes: int = 1 << 30
    one_process_per_mode: bool = False

    def rounds(self, round_seconds: float) -> int:
        affordable = math.ceil(self.case_seconds / round_seconds)
        return max(self.fewest_rounds, min(self.sweeps, affordable))


@dataclass
class Outcome:
    """What one case brought home from one pass. `status` is ok, unavailable or failed."""

    case: Case
    status: str
    reason: str = ""
    flag: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)


class Running(NamedTuple):
    """A process, what it prints, and the name by which its connections are known."""

    process: subprocess.Popen[bytes]
    log: Path
    name: str


class Worker:
    """The conductor's side of one case in its process. Once `end` was called, there is an outcome and no process."""

    def __init__(self, case: Case, running: Running, cpus: list[int]) -> None:
        self.case, self.running, self.cpus = case, running, cpus
        self.process, self.log = running.process, running.log
        self.started, self.throttled = time.monotonic(), quota.throttled_seconds()
        self.connection: Connection | None = None
        self.start_seconds = self.round_seconds = 0.0
        self.turns: list[dict[str, Any]] = []
        self.outcome: Outcome | None = None

    def say(self, message: dict[str, Any]) -> None:
        """Send to the worker; that it is gone shows when its answer is read."""
        try:
            if self.connection is not None:
                turns.send(self.connection, message)
        except OSError:
            pass

    def hear(self, expected: str, seconds: float) -> dict[str, Any]:
        """The worker's next message, which should be of that kind. An empty one where the worker has an outcome now."""
        throttled = quota.throttled_seconds()
        try:
            if self.connection is None or not self.connection.poll(seconds):
                self.give_up(seconds, throttled)
                return {}
            message = turns.receive(self.connection)
            said = message["says"]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self.end("failed", f"{self.how_it_ended(error)}; {last_words(self.log)}")
            return {}
        if said == "failed":
            self.end(message["status"], message["reason"], message["flag"])
            return {}
        if said != expected:
            self.end("failed", f"the worker said {said!r} where {expected!r} was due; {last_words(self.log)}")
            return {}
        return message

    def give_up(self, seconds: float, throttled: float) -> None:
        """It has not answered for that long; `throttled` seconds of quotas' stops had been counted before."""
        stopped = quota.stopped_since(throttled, seconds)
        self.end("failed", f"no answer within {seconds:.0f} s{stopped}; {last_words(self.log)}")

    def begin_last_turn(self, cpus: list[int]) -> None:
        """Let it do on these CPUs what follows its rounds."""
        self.cpus, self.started, self.throttled = cpus, time.monotonic(), quota.throttled_seconds()
        self.say({"says": "go", "cpus": cpus})

    def how_it_ended(self, error: Exception | None = None) -> str:
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return f"the worker broke off the conversation ({type(error).__name__})"
        if code < 0:
            return f"the worker was killed by {signal.Signals(-code).name}"
        return f"the worker ended with exit status {code}"

    def end(self, status: str, reason: str = "", flag: str = "") -> None:
        """Fix the outcome, if there is none yet, and leave no process behind."""
        if self.outcome is None:
            self.outcome = Outcome(self.case, status, printable(reason), flag)
        if self.connection is not None:
            self.connection.close()
        kill_group(self.process)


def last_words(log: Path) -> str:
    """The last line that a worker printed, which is what a person would look at first."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return f"its last words: {lines[-1][-LONGEST_LAST_WORDS:]}" if lines else "it printed nothing"


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker with every process that it started, and collect it."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


@dataclass
class Place:
    """Where the processes of one group live: their folder, the tree that they import, the address at which they
    announce a case, and who came.

    `queues` says for each case what a process takes that begins with it.
    """

    scratch: Path
    tree: Path
    address: str
    token: str
    arrivals: queue.Queue[tuple[Announced, Connection]]
    queues: Mapping[Case, Sequence[Case]] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    arrived: dict[Announced, Connection] = field(default_factory=dict)

    def living(self, case: Case) -> Running | None:
        """The process in whose queue the case stands; None where it has not begun, or has ended."""
        living = (worker for worker in self.before(case) if worker.process.poll() is None)
        return next((worker.running for worker in living), None)

    def before(self, case: Case) -> list[Worker]:
        """Those that had smaller batches of this case's mode."""
        return [worker for worker in self.workers if case in self.queues.get(worker.case, [])[1:]]

    def took(self, case: Case) -> float:
        """How long the smaller batches took to get ready, in seconds."""
        return sum(worker.start_seconds for worker in self.before(case))

    def too_long(self, case: Case) -> str:
        """Why a series goes no further than the batches before; empty where it does."""
        for worker in self.before(case):
            if worker.outcome is not None and worker.outcome.status == "ok":
                step = worker.round_seconds / worker.outcome.record["steps"]
                if step > LONGEST_IN_SERIES_SECONDS:
                    size = worker.case.batch_size
                    return f"left out of the series: a step took {step:.1f} s with a batch of {size} already"
        return ""

    def welcome(self, starting: Sequence[Worker]) -> None:
        """Those of them that have announced themselves may begin, on the CPUs that are free for them."""
        while not self.arrivals.empty():
            announced, connection = self.arrivals.get()
            self.arrived[announced] = connection
        for worker in starting:
            if (worker.running.name, worker.case.id) in self.arrived:
                worker.connection = self.arrived.pop((worker.running.name, worker.case.id))
                worker.say({"cpus": worker.cpus})


@dataclass
class Conductor:
    """Runs passes over `cases`: each has the interpreter of its environment, each variant a folder of data.

    Controls take their turns among the cases. `slowdowns`, and `plain` loops without the suite, are for
    self-checks; `sources` are the folders whose `backends` and `bench` a case runs, for gates.
    """

    interpreters: Mapping[Case, Path]
    data: str
    folders: Mapping[str, Path]
    plan: Plan
    random: random.Random
    progress: Callable[[str], None] = lambda text: None
    slowdowns: Mapping[Case, Slowdown] = field(default_factory=dict)
    plain: Collection[Case] = ()
    sources: Mapping[Case, Path] = field(default_factory=dict)
    order: int = 0
    first_sweep: int = 0
    names: Mapping[str, str] = field(default_factory=dict)

    def run_pass(self, cases: Sequence[Case], number: int) -> list[Outcome]:
        """One outcome per case and one per control, whatever happens to their processes.

        Where all processes together would not fit into memory, they run in groups, each with its controls.
        """
        outcomes: list[Outcome] = []
        self.first_sweep, self.names = 0, names_of([*cases, *controls_for(cases)])
        queues = self._queues(self.random.sample(list(cases), len(cases)))
        for group in groups(list(queues), self.plan.process_bytes):
            outcomes += self._run_group({case: queues[case] for case in group}, number)
        return outcomes

    def _queues(self, cases: Sequence[Case]) -> dict[Case, list[Case]]:
        """What each process takes, one after the other, by the first of them: one case, or a mode's batch sizes."""
        if not self.plan.one_process_per_mode:
            return {case: [case] for case in cases}
        modes: dict[Case, list[Case]] = {}
        for case in cases:
            modes.setdefault(replace(case, batch_size=0), []).append(case)
        ordered = [sorted(own, key=lambda case: case.batch_size) for own in modes.values()]
        return {own[0]: own for own in ordered}

    def _run_group(self, queues: Mapping[Case, Sequence[Case]], number: int) -> list[Outcome]:
        """The first case of every process side by side, then the second of each, and so on."""
        outcomes: list[Outcome] = []
        with tempfile.TemporaryDirectory(prefix="lenet-bench-") as scratch, listening() as (address, token, arrivals):
            place = Place(Path(scratch), lay_out(Path(scratch) / "tree"), address, token, arrivals)
            try:
                place.queues = {case: own[own.index(case) :] for own in queues.values() for case in own}
                for stage in itertools.zip_longest(*queues.values()):
                    cases = [case for case in stage if case is not None]
                    left_out = {case: reason for case in cases if (reason := place.too_long(case))}
                    outcomes += [Outcome(case, "unavailable", left_out[case], LEFT_OUT) for case in left_out]
                    cases = [case for case in cases if case not in left_out]
                    outcomes += self._run_stage([*cases, *controls_for(cases)], place, number)
            finally:
                for worker in place.workers:
                    worker.end("failed", "the run was interrupted")
        return outcomes

    def _run_stage(self, cases: Sequence[Case], place: Place, number: int) -> list[Outcome]:
        first = len(place.workers)
        self._start_all(cases, place)
        workers = place.workers[first:]
        self._sweep([worker for worker in workers if worker.outcome is None])
        self._collect([worker for worker in workers if worker.outcome is None], number)
        outcomes = {worker.case: worker.outcome for worker in workers}
        return [outcomes.get(case) or Outcome(case, "failed", "never started") for case in cases]

    def _start_all(self, cases: Sequence[Case], place: Place) -> None:
        """Start every case, as many at once as the CPUs allow, until each is ready or has failed."""
        # In random order; in a series those first that take long, so that no CPU waits for the last of them.
        waiting = sorted(self.random.sample(cases, len(cases)), key=place.took, reverse=True)
        starting: list[Worker] = []
        started = 0
        while waiting or starting:
            while waiting and (cpus := free_cpus(waiting[0].threads, starting)):
                case, started = waiting.pop(0), started + 1
                self.progress(f"starting {started} of {len(cases)}: {self.names[case.id]}")
                starting.append(Worker(case, place.living(case) or self._spawn(case, place), cpus))
                place.workers.append(starting[-1])
            place.welcome(starting)
            connections = [worker.connection for worker in starting if worker.connection is not None]
            readable = wait(connections, POLL_SECONDS)
            if not connections:
                time.sleep(POLL_SECONDS)
            for worker in starting:
                if worker.connection in readable:
                    worker.round_seconds = float(worker.hear("ready", 0).get("seconds", 0))
                    worker.start_seconds = time.monotonic() - worker.started
                elif worker.connection is None and worker.process.poll() is not None:
                    worker.end("failed", f"{worker.how_it_ended()}; {last_words(worker.log)}")
                elif time.monotonic() - worker.started > self.plan.deadline_seconds:
                    stopped = quota.stopped_since(worker.throttled, self.plan.deadline_seconds)
                    limit = f"{self.plan.deadline_seconds:.0f} s{stopped}"
                    worker.end("failed", f"not ready within {limit}; {last_words(worker.log)}")
            starting = [worker for worker in starting if worker.outcome is None and not worker.round_seconds]

    def _spawn(self, case: Case, place: Place) -> Running:
        """A process for this case and for those queued behind it."""
        folder = Path(tempfile.mkdtemp(prefix=f"{case.id}-", dir=place.scratch))
        orders = [self._order(one, folder) for one in place.queues.get(case, [case])]
        python = sys.executable if is_control(case) else str(self.interpreters[case])
        source = self.sources.get(case, place.tree)
        command = [python, "-m", "pytest", "-c", str(source / "bench" / "pytest.ini")]
        # As seen from the process's folder: pytest takes a `$HOME` in the whole path for a variable.
        command += ["-p", "pytest_benchmark.plugin", f"--rootdir={os.path.relpath(source, folder)}"]
        command += [f"--lenet-order={order}" for order in orders]
        command.append(str(source / "bench" / "test_throughput.py"))
        if case in self.plain:
            command = [python, str(source / "bench" / "plain_loop.py"), str(orders[0])]
        chosen = {
            **ground.variables(case.threads, self.plan.allocator),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            turns.ADDRESS_VARIABLE: place.address,
            turns.TOKEN_VARIABLE: place.token,
            turns.PROCESS_VARIABLE: folder.name,
            turns.PARENT_VARIABLE: str(os.getpid()),
        }
        if not is_control(case):
            # What frameworks compile and keep is empty when a run begins, and gone when it ends.
            caches = self.folders[case.variant] / "caches"
            caches.mkdir(exist_ok=True)
            chosen["TMPDIR"] = str(caches)
        log = folder / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=ground.environment(chosen, str(source)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=sys.platform != "win32",
            )
        return Running(process, log, folder.name)

    def _order(self, case: Case, folder: Path) -> Path:
        """The file that tells a process what to measure."""
        path = folder / f"{case.id}.json"
        data = "" if is_control(case) else str(self.folders[case.variant])
        lesson = "" if is_control(case) or case in self.plain else self._lesson(case)
        write_order(path, Order(case, self.data, data, self.slowdowns.get(case), lesson))
        return path

    def _lesson(self, case: Case) -> str:
        """A file with what the reference makes of the case's first steps, written beside the data once.

        None where a case runs other sources whose network may be another: it works that out itself.
        """
        if case in self.sources and (self.sources[case] / "backends" / "lenet.py").read_bytes() != NETWORK:
            return ""
        path = self.folders[case.variant] / f"lesson-b{case.batch_size}.npz"
        if not path.exists():
            write_lesson(path, first_lesson(case))
        return str(path)

    def _sweep(self, workers: list[Worker]) -> None:
        """Grant rounds, then turns: in every sweep one per worker, in random order."""
        rounds = {}
        for worker in workers:
            rounds[worker.case] = self.plan.rounds(worker.round_seconds)
            worker.say({"rounds": rounds[worker.case], "cpus": shared_cpus(worker.case.threads)})
        sweeps = max(rounds.values(), default=0)
        for sweep in range(sweeps):
            self.progress(f"turn {sweep + 1} of {sweeps}")
            due = [w for w in workers if w.outcome is None and is_due(sweep, rounds[w.case], sweeps)]
            for worker in self.random.sample(due, len(due)):
                warm = 0 if worker.round_seconds >= LONG_ROUND_SECONDS else self.random.choice(WARM_ROUNDS)
                worker.say({"says": "go", "warm": warm})
                done = worker.hear("done", self._patience(worker))
                if done:
                    worker.turns.append({**done, "order": self.order, "sweep": self.first_sweep + sweep})
                    self.order += 1
        self.first_sweep += sweeps  # those of another group are others: they do not lie next to these in time

    def _collect(self, workers: Sequence[Worker], number: int) -> None:
        """The last turn, everybody's at once, as many as the CPUs allow: there are no rounds left to disturb.

        Those with long rounds come first, so that no CPU waits for the last of them.
        """
        waiting, finishing = sorted(workers, key=lambda worker: worker.round_seconds), list[Worker]()
        while waiting or finishing:
            while waiting and (cpus := free_cpus(waiting[-1].case.threads, finishing)):
                worker = waiting.pop()
                worker.begin_last_turn(cpus)
                finishing.append(worker)
            readable = wait([worker.connection for worker in finishing if worker.connection], POLL_SECONDS)
            for worker in finishing:
                patience = self._patience(worker)
                if worker.connection in readable:
                    self._take_home(worker, number)
                elif time.monotonic() - worker.started > patience:
                    worker.give_up(patience, worker.throttled)
            finishing = [worker for worker in finishing if worker.outcome is None]

    def _take_home(self, worker: Worker, number: int) -> None:
        """What the worker measured, and has sent, becomes its outcome."""
        message = worker.hear("finished", 0)
        if not message:
            return
        record = message["record"]
        seconds = record.pop("seconds")
        if len(seconds) != len(worker.turns):
            worker.end("failed", f"{len(seconds)} rounds measured in {len(worker.turns)} turns")
            return
        rounds = [
            Round(
                case=worker.case.id,
                pass_number=number,
                round=index,
                sweep=turn["sweep"],
                order=turn["order"],
                steps=record["steps"],
                images=record["images"],
                seconds=duration,
                cpu_seconds=turn["cpu_seconds"],
                waited_seconds=turn["waited_seconds"],
                page_faults=turn["page_faults"],
                involuntary_switches=turn["involuntary_switches"],
                throttled_seconds=turn.get("throttled_seconds", 0.0),  # a base may be of a version that counts none
            )
            for index, (turn, duration) in enumerate(zip(worker.turns, seconds))
        ]
        worker.outcome = Outcome(worker.case, "ok", record=record, rounds=rounds)

    def _patience(self, worker: Worker) -> float:
        """How long a turn may take before the worker counts as hung, in seconds."""
        return min(self.plan.deadline_seconds, max(30.0, 50 * worker.round_seconds))


def groups(cases: Sequence[Case], process_bytes: int) -> list[list[Case]]:
    """The cases in as few groups as fit into the memory that is free now, at so much per process.

    Copies of one case stay together: they are there to be compared, and have to take turns.
    """
    room = max(1, int(psutil.virtual_memory().available * SHARE_OF_MEMORY / process_bytes))
    copies: dict[Case, list[Case]] = {}
    for case in cases:
        copies.setdefault(replace(case, copy=""), []).append(case)
    found: list[list[Case]] = []
    for own in copies.values():
        if not found or len(found[-1]) + len(own) > room:
            found.append([])
        found[-1] += own
    return found


def free_cpus(threads: int, starting: Sequence[Worker]) -> list[int]:
    """CPUs for one more process that starts up; empty while the others have them all."""
    allowed = ground.allowed_cpus()
    taken = {cpu for worker in starting for cpu in worker.cpus}
    free = [cpu for cpu in allowed if cpu not in taken]
    if len(free) >= threads:
        return free[:threads]
    return [] if starting else allowed


def shared_cpus(threads: int) -> list[int]:
    """The CPUs on which every case takes its turns: the last ones, since interrupts prefer the first."""
    return ground.allowed_cpus()[-threads:]


def is_due(sweep: int, rounds: int, sweeps: int) -> bool:
    """Whether a case with fewer rounds than there are sweeps takes part in this one; evenly spread."""
    return (sweep + 1) * rounds // sweeps > sweep * rounds // sweeps


@contextmanager
def listening() -> Iterator[tuple[str, str, queue.Queue[tuple[Announced, Connection]]]]:
    """An address and a token for workers to connect with, and a queue of those that have, with their connections."""
    token = secrets.token_hex(16)
    arrivals: queue.Queue[tuple[Announced, Connection]] = queue.Queue()
    key = bytes.fromhex(token)
    with Listener(("127.0.0.1", 0)) as listener:

        def greet(connection: Connection) -> None:
            try:
                deliver_challenge(connection, key)
                answer_challenge(connection, key)
                hello = turns.receive(connection)
                arrivals.put(((hello["process"], hello["worker"]), connection))
            except (AuthenticationError, EOFError, OSError, ValueError, KeyError, TypeError):
                connection.close()  # not one of ours

        def accept() -> None:
            while True:
                try:
                    connection = listener.accept()
                except OSError:
                    return  # closed
                # Each in a thread of its own: one that connects and keeps silent keeps nobody waiting.
                threading.Thread(target=greet, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        host, port = listener.address
        yield f"{host}:{port}", token, arrivals
