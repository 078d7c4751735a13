"""Run folders: what is written can be read, and what cannot be read is named."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from bench.results import (
    FILES,
    Process,
    ResultsError,
    Round,
    Throughput,
    make_folder,
    make_writable,
    printable,
    read_rows,
    write_rows,
    write_text,
)

ROUND = Round("torch-eager", 1, 0, 0, 7, 3, 384, 0.0123456789012345, 0.01, 0.0, 0, 2)


def example(kind: type[Any]) -> Any:
    values = {"int": 3, "float": 0.1 + 0.2, "str": 'a "quoted", text'}
    return kind(*(values[str(field.type).split(" |")[0]] for field in dataclasses.fields(kind)))


@pytest.mark.parametrize("kind", list(FILES))
def test_rows_come_back_to_the_last_digit(tmp_path: Path, kind: type[Any]) -> None:
    rows = [example(kind), example(kind)]
    write_rows(tmp_path, kind, rows)
    assert read_rows(tmp_path, kind) == rows


def test_an_empty_cell_is_none_and_not_zero(tmp_path: Path) -> None:
    row = dataclasses.replace(example(Process), import_s=None, peak_device_bytes=None)
    write_rows(tmp_path, Process, [row])
    assert read_rows(tmp_path, Process) == [row]


def test_rounds_of_a_version_that_counted_less_are_read(tmp_path: Path) -> None:
    path = write_rows(tmp_path, Round, [ROUND])
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    assert "throttled_seconds" not in path.read_text()
    assert read_rows(tmp_path, Round) == [ROUND]


def test_throughput_begins_with_the_columns_of_the_design() -> None:
    names = [field.name for field in dataclasses.fields(Throughput)]
    assert names[:4] == ["run_id", "utc", "host", "cpu"]
    assert names.index("status") == names.index("flags") + 1
    assert "images_per_s" in names


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("seconds", "time"), "other columns"),
        (lambda text: "", "other columns"),
        (lambda text: text[:-5], "truncated"),
        (lambda text: text.replace(",384,", ",many,"), "images cannot be 'many'"),
        (lambda text: text.replace(",384,", ","), "cells, not"),
        (lambda text: text.replace("0.0123456789012345", "nan"), "seconds cannot be 'nan'"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: Any, message: str) -> None:
    path = write_rows(tmp_path, Round, [ROUND])
    path.write_text(damage(path.read_text()))
    with pytest.raises(ResultsError, match=message) as refusal:
        read_rows(tmp_path, Round)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rounds.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_rows(tmp_path, Round)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"rounds\.csv: cannot be read"):
        read_rows(tmp_path, Round)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "machine.json"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["machine.json"]


def test_a_results_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(ResultsError, match="choose another folder"):
        make_writable(tmp_path / "results")


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    make_folder(tmp_path, "one")
    with pytest.raises(ResultsError, match="cannot be made"):
        make_folder(tmp_path, "one")


def test_every_column_is_described_in_its_order() -> None:
    """results/README.md has a section per file, with one line per field of its dataclass."""
    text = (Path(__file__).resolve().parent.parent / "results" / "README.md").read_text(encoding="utf-8")
    for kind, name in FILES.items():
        section = text.split(f"## {name}:")[1].split("\n## ")[0]
        described = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert described == [field.name for field in dataclasses.fields(kind)], name


def test_words_of_others_are_one_printable_line() -> None:
    assert printable("cannot open b\udcff\x1b[31m\nnow é 図") == "cannot open b??[31m now é 図"
