"""How a command begins and ends: whose code it imports, and 1 for a verdict alone, whatever is imported or interrupts.

Many of these start a tree of which only `bench/__main__.py` is real, and `bench/cli.py` a few lines that do harm.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from bench import cli, cli_learners, environments, gate, ground, installing, tree
from tests import commands, made_up
from tests.commands import HERE, in_this_process, lenet_bench

ROOT = Path(__file__).absolute().parent.parent
NAMES = ("backends", "bench", "torch", "json", "random", "conftest", "pytest", "typer")
# What the start itself must not import by accident, before it is out of reach of them.
EARLY = ("signal", "enum", "types", "subprocess", "importlib", "traceback", "contextlib", "typing")
NUMPY = ("--backend", "numpy", "--mode", "im2col", "--python", HERE)
LAYERS = ("layers", "--input", "8", "--conv", "1@3")
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = "lenet-bench: interrupted\n"
ISOLATED = ("-E", "-P")  # as nox starts it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: every file in it ends whoever imports it."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported: {name}')\n")
    (tmp_path / "tmp").mkdir()
    return tmp_path


def run(folder: Path, path: str, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "PYTHONPATH": path,
        "TMPDIR": str(folder / "tmp"),
        "LENET_BENCH_INSTALLER": "none",
        **more,
    }
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@pytest.mark.slow
def test_nothing_of_the_users_is_imported_by_the_command_or_its_workers(folder: Path) -> None:
    path = f":{folder}"  # an empty part means the working directory, which is the same folder
    start = str(ROOT / "bench" / "__main__.py")
    length = ("--quick", "--passes", "1", "--data", "synthetic", "--seed", "1")
    for command in (("shapes", *NUMPY), ("run", *NUMPY, *length)):
        done = run(folder, path, start, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "imported" not in done.stdout + done.stderr
    assert run(folder, path, "-c", "import bench.cli").stderr == "imported: bench\n", "these files can be imported"


@pytest.mark.slow
def test_nor_by_a_training_a_picture_or_a_gate_where_python_itself_is_misled(folder: Path) -> None:
    """By variables that a Python which looks at them does not survive."""
    for name in ("sitecustomize", "usercustomize", *EARLY):
        (folder / f"{name}.py").write_text(f"raise SystemExit('imported: {name}')\n")
    variables = {"PYTHONHOME": "/nowhere", "PYTHONSTARTUP": str(folder / "json.py"), "PYTHONINSPECT": "1"}
    start = (*ISOLATED, str(ROOT / "bench" / "__main__.py"))
    sides = ("--base-python", HERE, "--data", "synthetic", "--batch", "8", "--passes", "2", "--allow-dirty")
    for command, code in (
        (("train", *NUMPY, "--data", "digits", "--epochs", "1"), (0,)),
        (("inspect", "--backend", *NUMPY[1:]), (0,)),
        (("gate", *NUMPY, *sides), (0, 3)),
    ):
        done = run(folder, str(folder), *start, *command, **variables)
        assert done.returncode in code, done.stdout + done.stderr
        assert "imported" not in done.stdout + done.stderr


def test_what_asks_an_interpreter_or_a_tree_sees_nothing_of_the_users(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name, value in (("PYTHONPATH", f":{folder}"), ("PYTHONSTARTUP", str(folder / "json.py")), ("PYTHONHOME", "/x")):
        monkeypatch.setenv(name, value)
    with pytest.raises(environments.UsageError, match="no backend 'nobody' is built in or registered there"):
        environments.registered_at(Path(sys.executable), "nobody")
    assert "lenet5" in gate.contents_of(tree.lay_out(folder / "laid out"))["networks"]


CHILDREN = {
    "run": ("run", *NUMPY, *("--data", "synthetic", "--batch", "8")),
    "gate": ("gate", *NUMPY, *("--base-python", HERE, "--data", "synthetic", "--batch", "8", "--allow-dirty")),
    "selfcheck": ("selfcheck", *NUMPY, *("--data", "synthetic", "--batch", "8")),
    "verify": ("verify", *NUMPY, *("--variant", "mlp")),
    "shapes": ("shapes", *NUMPY),
    "train": ("train", *NUMPY, *("--data", "digits", "--epochs", "1")),
    "evaluate": ("evaluate", "w.npz", *NUMPY, *("--data", "digits")),
    "inspect": ("inspect", *NUMPY),
}


@pytest.mark.parametrize("known", [False, True], ids=["probe", "worker"])
@pytest.mark.parametrize("command", list(CHILDREN))
def test_every_process_that_imports_starts_in_a_scratch_folder(
    command: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python before 3.11, as MXNet needs, knows no PYTHONSAFEPATH: it imports from where it starts."""
    started: list[Any] = []

    class Never(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, arguments: Any, **options: Any) -> None:
            if arguments[0] == sys.executable:
                started.append(options.get("cwd"))
                raise OSError("no process is started here")
            super().__init__(arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Never)
    if known:
        here = environments.Environment("numpy", Path(sys.executable))
        monkeypatch.setattr(environments, "find", lambda *_: here)
    made_up.write_weights(tmp_path / "w.npz")
    in_this_process(*CHILDREN[command], cwd=tmp_path)
    assert started
    assert all(cwd and tmp_path / "tmp" in Path(cwd).parents for cwd in started), started


def test_a_process_has_one_folder_on_its_path_and_what_the_user_refuses_of_his_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that it runs in, nor that of the script that it runs."""
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    program = "import json, sys; print(json.dumps([sys.path[:2], sys.flags.no_user_site, sys.flags.optimize]))"
    (folder / "script.py").write_text(program)
    (folder / "json.py").unlink()
    for command in (["-c", program], ["-m", "script"], ["script.py"]):
        asked = [sys.executable, *command]
        chosen = ground.environment({}, "/the/tree" if command[0] != "-m" else str(folder))
        found, no_user_site, optimised = json.loads(subprocess.check_output(asked, cwd=folder, env=chosen))
        assert found[0] == chosen["PYTHONPATH"] and str(folder) not in found[1:], command
        assert (no_user_site, optimised) == (1, 0)


def test_pips_settings_are_read_past_the_users_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pip that is only a program: nothing of `PYTHONPATH` comes before what it imports."""
    program = folder / "bin" / "pip"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport json\nprint(\"global.index-url='http://there'\")\n")
    program.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv(installing.PYTHON_WITH_PIP_VARIABLE, "/nowhere/python")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert installing.settings_of_pip() == {"index-url": ["http://there"]}


def test_a_worker_sees_the_two_packages_and_nothing_that_lies_beside_them(tmp_path: Path) -> None:
    laid = tree.lay_out(tmp_path / "tree")
    assert {path.name for path in laid.iterdir()} == {"backends", "bench"}
    assert (laid / "bench" / "pytest.ini").read_bytes() == (ROOT / "bench" / "pytest.ini").read_bytes()


class Planted:
    """A tree that starts as this one does, and whose command line is a few lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bench", "backends"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").touch()
        self.start = folder / "bench" / "__main__.py"
        self.start.write_bytes((ROOT / "bench" / "__main__.py").read_bytes())

    def begins(self, lines: str, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Start it, with those lines in the place of the command line."""
        (self.folder / "bench" / "cli.py").write_text(f"import os, signal, sys, time\n{lines}\n")
        # What Python compiled of lines as long as these, in the same second, it would take for these.
        shutil.rmtree(self.folder / "bench" / "__pycache__", ignore_errors=True)
        command = [sys.executable, *options, str(self.start)]
        asked = {"cwd": self.folder, "env": commands.environment(self.folder), "stdin": subprocess.DEVNULL, **more}
        asked.setdefault("stderr", subprocess.PIPE)
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, **asked)


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    (tmp_path / "planted").mkdir()
    return Planted(tmp_path / "planted")


RECURSION = "def deeper(): deeper()\n"


@pytest.mark.parametrize(
    "lines",
    [
        "import nothing_of_that_name",
        "raise ImportError('libblas.so.3: no version')",
        "raise SystemExit('a text')",
        "sys.exit(1)",
        "sys.exit(0)",  # nothing was looked at: no verdict either
        "sys.exit(None)",
        "raise MemoryError",
        "raise BaseException('of nobody')",
        "'\\udcff'.encode()",
        f"{RECURSION}deeper()",
        "assert False",
        "x = (",
    ],
)
def test_what_an_import_does_is_no_verdict(planted: Planted, lines: str) -> None:
    done = planted.begins(lines)
    assert done.returncode == 70, done.stderr
    assert done.stderr.splitlines()[-1].startswith("lenet-bench: ")


@pytest.mark.parametrize(
    "line",
    [
        "raise SystemExit('a text')",
        "sys.exit('1')",
        "raise MemoryError",
        "raise GeneratorExit",
        "print(1 / 0)",
        "deeper()",
        "sys.stdout.buffer.close(); print('\\udcff', flush=True)",
    ],
)
def test_what_escapes_the_command_is_no_verdict(planted: Planted, line: str) -> None:
    assert planted.begins(f"{RECURSION}def main(): {line}").returncode == 70


@pytest.mark.parametrize("code", [0, 1, 3, 4, 130])
def test_the_commands_own_word_is_the_exit_code(planted: Planted, code: int) -> None:
    assert planted.begins(f"def main(): sys.exit({code})").returncode == code


def test_a_module_that_is_missing_is_one_line_with_the_way_out(planted: Planted) -> None:
    done = planted.begins("import typer_of_no_version")
    (line,) = done.stderr.splitlines()
    assert "No module named 'typer_of_no_version' in " in line and "nox -s bench" in line


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("raise SystemExit('a text')", 70),
        ("def main(): print('x' * 9999, file=sys.stderr, flush=True)", 70),
        ("def main(): raise ZeroDivisionError", 70),
        ("def main(): sys.exit(4)", 4),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_nobody_who_reads_standard_error_is_no_verdict(planted: Planted, lines: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert planted.begins(lines, stderr=writing).returncode == code
    finally:
        os.close(writing)


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_a_stream_that_the_shell_has_closed_is_no_fault(planted: Planted, closed: list[int]) -> None:
    """And what is opened next does not get its number: a last word would be written into it."""
    lines = (
        "def main():\n    opened = os.open(__file__, os.O_RDONLY)\n    print(1, sys.stdin.read())\n    sys.exit(opened)"
    )
    for options in ((), ISOLATED):
        done = planted.begins(lines, *options, preexec_fn=lambda: [os.close(number) for number in closed])
        assert done.returncode in range(3, 10), done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device on this system")
def test_a_full_disk_is_a_bad_place_and_one_line(planted: Planted) -> None:
    command = [sys.executable, str(planted.start)]
    (planted.folder / "bench" / "cli.py").write_text("def main(): print('a table')\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=planted.folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


@pytest.mark.slow
def test_bad_input_that_nobody_reads_is_2(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = commands.command("layers", "nonsense")
    done = subprocess.run(command, cwd=tmp_path, env=commands.environment(tmp_path), stderr=writing)
    os.close(writing)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("raised", "code", "word"),
    [
        (SystemExit(1), 70, "SystemExit: 1"),
        (SystemExit("a text"), 70, "SystemExit: a text"),
        (SystemExit(0), 70, "SystemExit: 0"),
        (RecursionError("too deep"), 70, "RecursionError"),
        (MemoryError(), 70, "MemoryError"),
        (EOFError(), 70, "EOFError"),
        (typer.Abort(), 70, "Abort"),
        (GeneratorExit(), 70, "GeneratorExit"),
        (BrokenPipeError(32, "Broken pipe"), 2, "Broken pipe"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_only_a_verdict_ends_in_1(
    raised: BaseException, code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise raised

    monkeypatch.setattr(cli_learners, "calculate", broken)
    done = in_this_process(*LAYERS, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert word in done.stderr
    assert code == 70 or len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("line", ["raise SystemExit(1)", "raise SystemExit('a text')", "import sys; sys.exit(0)"])
def test_a_third_partys_package_that_ends_whoever_imports_it_is_no_verdict(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "third_party_that_ends.py").write_text(f"{line}\n")
    point = importlib.metadata.EntryPoint("x", "third_party_that_ends:entry", "lenet_bench.backends")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])
    assert in_this_process("shapes", *NUMPY, cwd=tmp_path).returncode == 70


def test_a_signal_while_something_is_imported_is_130_and_one_line(planted: Planted) -> None:
    """Also where what is being imported would have swallowed an exception."""
    for one in ENDINGS:
        for lines in (
            f"os.kill(os.getpid(), {one:d}); time.sleep(60)",
            f"try: os.kill(os.getpid(), {one:d}); time.sleep(0)\nexcept BaseException: pass\ndef main(): sys.exit(0)",
            f"class Kept:\n    def __del__(self): os.kill(os.getpid(), {one:d})\nKept()\ndef main(): sys.exit(0)",
        ):
            for options in ((), ISOLATED):
                done = planted.begins(lines, *options)
                assert (done.returncode, done.stderr) == (130, INTERRUPTED), (one, lines, options)


def test_an_import_that_ends_as_ctrl_c_does_is_130(planted: Planted) -> None:
    for lines in ("raise KeyboardInterrupt", "def main(): raise KeyboardInterrupt"):
        done = planted.begins(lines)
        assert (done.returncode, done.stderr) == (130, INTERRUPTED)


@pytest.mark.skipif(os.name != "posix", reason="the command is started anew by exec on POSIX alone")
def test_a_signal_between_the_two_pythons_is_130_and_one_line(planted: Planted, tmp_path: Path) -> None:
    """Sent by a stand-in for `os.execv` in the first, immediately before the second takes its place."""
    hook = (
        "import os\nreal = os.execv\ndef execv(*of):\n    os.kill(os.getpid(), {:d})\n    real(*of)\nos.execv = execv\n"
    )
    (tmp_path / "hook").mkdir()
    for one in ENDINGS:
        (tmp_path / "hook" / "sitecustomize.py").write_text(hook.format(one))
        variables = commands.environment(planted.folder, PYTHONPATH=str(tmp_path / "hook"))
        done = planted.begins("def main(): time.sleep(60)", env=variables)
        assert (done.returncode, done.stderr) == (130, INTERRUPTED), one


def test_a_signal_after_the_verdict_is_one_line_too(planted: Planted) -> None:
    """As Python cleans up, which takes a while; and nothing at all once it takes its handlers down."""
    end = "class Last:\n    def __del__(self, kill=os.kill, me=os.getpid()): kill(me, 2)\nsys.last = Last()\n"
    lines = "import atexit\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    done = planted.begins(f"{lines}def main(): sys.exit(3)")
    assert (done.returncode, done.stderr) == (130, INTERRUPTED)
    done = planted.begins(f"{end}def main(): sys.exit(3)")
    assert (done.returncode, done.stderr) == (3, "")


def test_what_a_parent_has_ignored_stays_ignored(planted: Planted) -> None:
    """As nohup does for SIGHUP, and a shell for the SIGINT of a background job."""
    for one in (signal.SIGINT, signal.SIGHUP):
        lines = f"def main():\n    os.kill(os.getpid(), {one:d})\n    time.sleep(0)\n    sys.exit(3)"
        done = planted.begins(lines, preexec_fn=lambda one=one: signal.signal(one, signal.SIG_IGN))
        assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_the_command_itself_leaves_ignored_what_its_parent_has_ignored(ignored: signal.Signals, tmp_path: Path) -> None:
    before = {one: signal.getsignal(one) for one in ENDINGS}
    signal.signal(ignored, signal.SIG_IGN)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cli, "carry_out", lambda: 0)
            patch.chdir(tmp_path)
            with pytest.raises(SystemExit):
                cli.main()
        assert signal.getsignal(ignored) == signal.SIG_IGN
        others = {signal.getsignal(one) for one in ENDINGS if one != ignored}
        assert others == {signal.default_int_handler}
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def listens(process: subprocess.Popen[str]) -> bool:
    """Whether `bench/__main__.py` has begun: Python by itself catches no SIGTERM, and blocks none."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigCgt", "SigBlk"))]
    return any(mask >> (signal.SIGTERM - 1) & 1 for mask in masks)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see that the command has begun")
@pytest.mark.parametrize("options", [(), ISOLATED])
def test_ctrl_c_is_130_and_one_line_at_any_moment(options: tuple[str, ...], tmp_path: Path) -> None:
    """From the first line of the command on: before it, Python's own start is nobody's to guard."""
    draw, ends = random.Random(0), []
    for seconds in (0, 0.005, 0.01, 0.02, 0.05, *(draw.uniform(0, 2) for _ in range(6))):
        command = [sys.executable, *options, str(ROOT / "bench" / "__main__.py"), *LAYERS]
        one = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=commands.environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait(lambda one=one: one.poll() is not None or listens(one))  # type: ignore[misc]
        time.sleep(seconds)
        one.send_signal(draw.choice(ENDINGS))
        said = one.communicate(timeout=commands.PATIENCE_SECONDS)[1]
        ends.append(one.returncode)
        assert one.returncode in (0, 130), (seconds, said)
        told = [line for line in said.splitlines() if not line.startswith("lenet-bench of ")]
        assert told == ([INTERRUPTED.strip()] if one.returncode else []), (seconds, said)
    assert 130 in ends


def wait(held: Callable[[], bool]) -> None:
    until = time.monotonic() + commands.PATIENCE_SECONDS
    while not held():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.001)


def test_user_site_packages_stay_out_where_the_user_keeps_them_out(planted: Planted) -> None:
    lines = "def main(): sys.exit(20 + sys.flags.no_user_site)"
    assert planted.begins(lines, "-s").returncode == 21
    assert planted.begins(lines).returncode == 20


@pytest.mark.slow
def test_help_that_nobody_reads_to_its_end_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, *ISOLATED, str(ROOT / "bench" / "__main__.py"), "run", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device on this system")
@pytest.mark.parametrize(("arguments", "code"), [(("layers", "rubbish"), 2), (("layers", "lecun1998"), 0)])
def test_a_complaint_that_has_no_room_changes_no_outcome(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    command = [sys.executable, *ISOLATED, str(ROOT / "bench" / "__main__.py"), *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, cwd=tmp_path)
    assert done.returncode == code


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["0", "000", "\u00b2"])
def test_a_width_that_is_none_hides_nothing(columns: str, tmp_path: Path) -> None:
    done = lenet_bench("layers", "mlp", cwd=tmp_path, COLUMNS=columns)
    assert (done.returncode, "parameters" in done.stdout) == (0, True), done.stderr
    done = lenet_bench("layers", "--input", "0", cwd=tmp_path, COLUMNS=columns)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.slow
def test_a_folder_for_temporary_files_that_is_two_on_pythons_path_is_refused(tmp_path: Path) -> None:
    for name in ("a", "a:b"):
        (tmp_path / name).mkdir()
    done = lenet_bench("layers", "mlp", cwd=tmp_path, TMPDIR=str(tmp_path / "a:b"))
    assert done.returncode == 2
    assert f"temporary files lie in {tmp_path / 'a:b'}" in done.stderr and "TMPDIR" in done.stderr


@pytest.mark.parametrize("command", ["evaluate", "report", "accuracy"])
def test_what_moves_a_terminals_cursor_in_a_path_is_not_printed(command: str, tmp_path: Path) -> None:
    done = in_this_process(command, "a\x1b]0;title\x07\nb.npz", cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.isprintable() and "b.npz" in line


def test_what_a_shell_or_a_home_folder_sets_for_a_framework_reaches_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("NUMPY_MADVISE_HUGEPAGE", "MKLDNN_VERBOSE", "FLAX_PROFILE", "KERAS_BACKEND", "TF_NUM_INTEROP_THREADS")
    for name in names:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KERAS_HOME", "/home/of/a/user")
    found = ground.environment({}, "/the/tree")
    assert not set(names) & set(found)
    assert found["KERAS_HOME"].startswith("/the/tree/")
