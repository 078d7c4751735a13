"""CPU quotas as systems lay them out: made-up trees of control groups, and, where that can be had, a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import ground, machine, quota, turns
from bench.quota import Quota

V2_MOUNT = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
# Version 1's controllers mounted singly, and an empty version 2 beside them.
HYBRID_MOUNTS = """
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 {root} /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 {root} /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 {root} /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def system(root: Path, mounts: str, groups: str, **files: str) -> Path:
    """A file system with what a process sees of itself, and files by their path."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts.strip() + "\n")
    (root / "proc/self/cgroup").write_text(groups.strip() + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(root: Path, group: str, **files: str) -> Path:
    return system(root, V2_MOUNT, f"0::{group}", **files)


def v1(root: Path, group: str, mounted: str = "/", **files: str) -> Path:
    groups = f"9:name=systemd:/\n3:cpuset:/other\n2:cpuacct:/other\n1:cpu:{group}\n0::/"
    return system(root, HYBRID_MOUNTS.format(root=mounted), groups, **files)


def limits(cpus: float, period: int = 100_000) -> dict[str, str]:
    return {"cpu.cfs_quota_us": f"{int(cpus * period)}\n", "cpu.cfs_period_us": f"{period}\n"}


def at(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


def told(root: Path) -> tuple[float, str, str] | None:
    found = quota.smallest(root)
    return found and (found.cpus, found.file, found.group)


def test_version_2_tells_the_quota_of_a_group(tmp_path: Path) -> None:
    v2(tmp_path, "/docker/abc", **{"docker/abc/cpu.max": "30000 100000\n"})
    assert told(tmp_path) == (0.3, "cpu.max", "/docker/abc")


@pytest.mark.parametrize(("own", "parent", "grandparent"), [("max", "150000", "max"), ("200000", "150000", "400000")])
def test_a_group_is_bound_by_its_ancestors_too(tmp_path: Path, own: str, parent: str, grandparent: str) -> None:
    files = {
        "a/b/c/cpu.max": f"{own} 100000\n",
        "a/b/cpu.max": f"{parent} 100000\n",
        "a/cpu.max": f"{grandparent} 100000\n",
    }
    v2(tmp_path, "/a/b/c", **files)
    assert told(tmp_path) == (1.5, "cpu.max", "/a/b")


def test_a_container_that_sees_its_own_group_as_the_root_has_its_quota(tmp_path: Path) -> None:
    v2(tmp_path, "/", **{"cpu.max": "30000 100000\n"})
    assert told(tmp_path) == (0.3, "cpu.max", "/")


def test_version_1_tells_the_quota_of_the_controller_for_cpus(tmp_path: Path) -> None:
    files = at("cpu/lb-test", limits(0.3)) | at("cpuset/lb-test", limits(0.1)) | at("cpu", limits(-1))
    v1(tmp_path, "/lb-test", **files)
    assert told(tmp_path) == (0.3, "cpu.cfs_quota_us", "/lb-test")


def test_controllers_that_are_mounted_together_are_found(tmp_path: Path) -> None:
    mounts = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
    system(tmp_path, mounts, "4:cpu,cpuacct:/x/y", **at("cpu,cpuacct/x", limits(2, 50_000)))
    (tmp_path / "sys/fs/cgroup/cpu,cpuacct/x/y").mkdir()
    assert told(tmp_path) == (2, "cpu.cfs_quota_us", "/x")


def test_a_container_of_version_1_names_a_group_that_is_mounted_as_the_root(tmp_path: Path) -> None:
    """As Docker shows it without a namespace of control groups: what is mounted is the container's group."""
    v1(tmp_path, "/docker/abc", mounted="/docker/abc", **at("cpu", limits(0.5)))
    assert told(tmp_path) == (0.5, "cpu.cfs_quota_us", "/docker/abc")


@pytest.mark.parametrize("group", ["/docker/abc", "/../sibling", "/kubepods/pod1/x"])
def test_a_group_that_is_not_below_what_is_mounted_stands_for_what_is(tmp_path: Path, group: str) -> None:
    v2(tmp_path, group, **{"cpu.max": "30000 100000\n"})
    assert told(tmp_path) == (0.3, "cpu.max", "/")


def test_a_path_with_blanks_is_found(tmp_path: Path) -> None:
    mounts = r"29 23 0:26 / /sys/fs/cgroup/a\040b rw - cgroup2 cgroup2 rw"
    system(tmp_path, mounts, "0::/c d", **{"a b/c d/cpu.max": "30000 100000\n"})
    assert told(tmp_path) == (0.3, "cpu.max", "/c d")


@pytest.mark.parametrize(
    "text", ["max 100000\n", "max\n", "", "30000\n", "0 100000\n", "-1 100000\n", "30000 0\n", "a b\n", "1 2 3\n"]
)
def test_what_is_no_limit_is_none(tmp_path: Path, text: str) -> None:
    assert quota.smallest(v2(tmp_path, "/a", **{"a/cpu.max": text})) is None


def test_version_1_without_a_limit_has_none(tmp_path: Path) -> None:
    v1(tmp_path, "/a", **{"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"})
    assert quota.smallest(tmp_path) is None
    assert quota.throttled_seconds(tmp_path) == 0


@pytest.mark.parametrize(
    ("mounts", "groups"),
    [
        ("", ""),
        ("nonsense", "nonsense"),
        (V2_MOUNT, ""),
        (V2_MOUNT, "0:"),
        ("", "0::/a"),
        ("29 23 - cgroup2", "0::/a"),
        ("1 2 3 / /sys/fs/cgroup rw - ext4 x rw", "0::/"),
        (V2_MOUNT.replace("/sys/fs/cgroup", "/nowhere"), "0::/a"),
    ],
)
def test_odd_files_mean_no_quota(tmp_path: Path, mounts: str, groups: str) -> None:
    system(tmp_path, mounts, groups)
    assert quota.smallest(tmp_path) is None
    assert quota.throttled_seconds(tmp_path) == 0


def test_a_system_without_such_files_has_no_quota(tmp_path: Path) -> None:
    assert quota.smallest(tmp_path) is None
    assert quota.throttled_seconds(tmp_path) == 0
    assert quota.said_first(8, tmp_path) == ""


def test_the_time_that_a_group_was_stopped_is_read_anew_each_time(tmp_path: Path) -> None:
    stat = "usage_usec 5\nuser_usec 5\nnr_periods 4\nnr_throttled 3\nthrottled_usec {}\nnr_bursts 0\n"
    v2(tmp_path, "/a", **{"a/cpu.max": "30000 100000\n", "a/cpu.stat": stat.format(1_500_000)})
    assert quota.throttled_seconds(tmp_path) == pytest.approx(1.5)
    (tmp_path / "sys/fs/cgroup/a/cpu.stat").write_text(stat.format(2_500_000))
    assert quota.throttled_seconds(tmp_path) == pytest.approx(2.5)


def test_version_1_counts_nanoseconds(tmp_path: Path) -> None:
    stat = {"cpu.stat": "nr_periods 46\nnr_throttled 45\nthrottled_time 1713916632\n"}
    v1(tmp_path, "/a", **at("cpu/a", limits(0.3) | stat))
    assert quota.throttled_seconds(tmp_path) == pytest.approx(1.713916632)


@pytest.mark.parametrize("text", ["", "throttled_usec\n", "throttled_usec many\n", "usage_usec 5\n", "\xff\n"])
def test_what_does_not_count_was_not_stopped(tmp_path: Path, text: str) -> None:
    v2(tmp_path, "/a", **{"a/cpu.max": "30000 100000\n", "a/cpu.stat": text})
    assert quota.throttled_seconds(tmp_path) == 0


def test_the_stops_of_all_groups_with_a_quota_are_added_up(tmp_path: Path) -> None:
    files = {f"{name}/cpu.max": "90000 100000\n" for name in ("a", "a/b")}
    stats = {f"{name}/cpu.stat": "throttled_usec 1000000\n" for name in ("a", "a/b")}
    assert quota.throttled_seconds(v2(tmp_path, "/a/b", **files, **stats)) == pytest.approx(2)


LINE = (
    "this process may use 0.3 of a CPU (cpu.max of /docker/abc): rounds are stopped when that is used up; "
    "figures will be low and wide; run with a quota of at least 1 CPU per thread"
)


def test_before_anything_is_measured_a_line_says_what_a_quota_leaves(tmp_path: Path) -> None:
    v2(tmp_path, "/docker/abc", **{"docker/abc/cpu.max": "30000 100000\n"})
    assert quota.said_first(2, tmp_path) == LINE


def test_a_quota_of_more_than_a_cpu_is_said_to_stop_more_threads(tmp_path: Path) -> None:
    v2(tmp_path, "/", **{"cpu.max": "150000 100000\n"})
    assert "may use 1.5 CPUs (cpu.max of /): rounds of more threads are" in quota.said_first(2, tmp_path)


def test_a_quota_of_all_cpus_is_none_to_speak_of(tmp_path: Path) -> None:
    assert quota.said_first(2, v2(tmp_path, "/", **{"cpu.max": "200000 100000\n"})) == ""


LIMIT = Quota(0.3, "cpu.max", "/docker/abc", Path("/sys/fs/cgroup/docker/abc/cpu.stat"))


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(quota, "smallest", lambda root=quota.ROOT: LIMIT)
    yield


def test_a_busy_machine_names_the_quota_first(limited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "psutil", SimpleNamespace(cpu_percent=lambda interval: 99, getloadavg=lambda: [1e9]))
    monkeypatch.setattr(ground, "allowed_cpus", lambda: [0, 1])
    lines = machine.busy(0)
    assert lines[0] == LINE and len(lines) == 3


def test_machine_json_holds_the_quota_or_null(limited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.Machine("", "", "", "", "", "")
    assert here.details()["cpu_quota"] == 0.3
    monkeypatch.setattr(quota, "smallest", lambda: None)
    assert here.details()["cpu_quota"] is None


def test_a_deadline_tells_for_how_long_a_quota_stopped_the_run(limited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "throttled_seconds", lambda: 250.0)
    told = ", of which the CPU quota of 0.3 (cpu.max) stopped this run for 41 s"
    assert quota.stopped_since(209, 300) == told
    assert quota.stopped_since(0, 41) == told, "no longer than the time itself, however many CPUs it stopped"
    assert quota.stopped_since(249.5, 300) == ""


def counted(wall: float, cpu: float, throttled: float, waited: float, cpus: int, patch: pytest.MonkeyPatch) -> dict:
    """What counters say of a process with one thread."""
    patch.setattr(ground, "allowed_cpus", lambda: list(range(cpus)))
    before, after = turns.Counters(0, {"1": (0, 0)}, 0, 0), turns.Counters(cpu, {"1": (cpu, waited)}, 0, 0, throttled)
    before.clock, after.clock = 0.0, wall
    return after.since(before)


def test_what_a_quota_stopped_is_held_against_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(1.0, 0.3, throttled=0.7, waited=0.7, cpus=1, patch=monkeypatch)
    assert found["throttled_seconds"] == pytest.approx(0.7)
    assert found["waited_seconds"] == 0
    assert found["lost_seconds"] == pytest.approx(0.7)


def test_what_is_left_of_the_waiting_is_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(1.0, 0.1, throttled=0.5, waited=0.9, cpus=1, patch=monkeypatch)
    assert (found["throttled_seconds"], found["waited_seconds"]) == pytest.approx((0.5, 0.4))


def test_a_group_is_stopped_on_cpus_that_a_process_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel adds up all CPUs; this process has one, and worked on it for most of the time."""
    found = counted(1.0, 0.8, throttled=3.0, waited=0.2, cpus=1, patch=monkeypatch)
    assert found["throttled_seconds"] == pytest.approx(0.2)


def test_without_a_quota_everything_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(1.0, 0.6, throttled=0.0, waited=0.4, cpus=1, patch=monkeypatch)
    assert (found["throttled_seconds"], found["waited_seconds"]) == pytest.approx((0, 0.4))


REAL = Path("/sys/fs/cgroup/cpu")
SPIN = """
import time
from bench import quota
from bench.turns import Counters
before = Counters.now()
while Counters.now().since(before)["throttled_seconds"] < 0.1:
    pass
print(quota.smallest().cpus, quota.smallest().group)
"""


@pytest.mark.slow
def test_a_real_quota_is_read_and_its_stops_are_counted() -> None:
    """Version 1's, where this user may make a group. It ends once a tenth of a second was stopped, however long."""
    group = REAL / f"lenet-bench-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (group / "cpu.cfs_quota_us").write_text("30000")
        except OSError as error:
            pytest.skip(f"no quota can be given here: {error}")
        script = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
        command = ["sh", "-c", script, "sh", str(group), sys.executable, "-c", SPIN]
        environment = ground.environment({}, str(Path(__file__).absolute().parent.parent))
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        cpus, _, name = done.stdout.strip().partition(" ")
        assert float(cpus) <= 0.3 and name.startswith("/"), done.stderr
    finally:
        group.rmdir()
