"""Run folders: what is written can be read, and what cannot be read is named."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench import folder as folders
from bench import results, run, train
from bench.results import (
    FILES,
    Process,
    ResultsError,
    Round,
    Throughput,
    make_folder,
    make_writable,
    printable,
    read_json,
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
    text = (Path(__file__).absolute().parent.parent / "results" / "README.md").read_text(encoding="utf-8")
    for kind, name in FILES.items():
        section = text.split(f"## {name}:")[1].split("\n## ")[0]
        described = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert described == [field.name for field in dataclasses.fields(kind)], name


def test_words_of_others_are_one_printable_line() -> None:
    assert printable("cannot open b\udcff\x1b[31m\nnow é 図") == "cannot open b??[31m now é 図"


@pytest.mark.parametrize(
    "save",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
        lambda text: "".join(
            ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) + "\r\n"
            for row in csv.reader(text.splitlines())
        ).encode(),
    ],
    ids=["a byte-order mark", "lines of Windows", "both", "every cell quoted"],
)
def test_what_a_spreadsheet_has_saved_is_read(tmp_path: Path, save: Any) -> None:
    row = dataclasses.replace(example(Process), reason="a, b", import_s=None)
    path = write_rows(tmp_path, Process, [row, row])
    path.write_bytes(save(path.read_text()))
    assert read_rows(tmp_path, Process) == [row, row]


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda text: text.encode("utf-16"), "looks like UTF-16: save it as CSV in UTF-8"),
        (lambda text: text.encode("utf-16-le"), "looks like UTF-16: save it as CSV in UTF-8"),
        (lambda text: text.encode("utf-16-be"), "looks like UTF-16: save it as CSV in UTF-8"),
        (lambda text: text.replace(",", ";").encode(), "it is separated by semicolons: save it with commas"),
        (
            lambda text: codecs.BOM_UTF8 + text.replace(",", "\t").encode(),
            "it is separated by tabs: save it with commas",
        ),
        (lambda text: text.encode() + "é".encode("latin-1"), "cannot be read"),
        (lambda text: text.rstrip("\n").encode(), "the file is truncated"),
    ],
)
def test_what_it_saved_in_another_form_is_named(tmp_path: Path, save: Any, message: str) -> None:
    path = write_rows(tmp_path, Round, [ROUND])
    path.write_bytes(save(path.read_text()))
    with pytest.raises(ResultsError, match=message) as refusal:
        read_rows(tmp_path, Round)
    assert "\n" not in str(refusal.value)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "-", "'=1", "''@x", "'+", "=1,2"]


@pytest.mark.parametrize("text", [*FORMULAS, "'quoted'", "'", "", "a=b", " =1", "1-2", "\N{MINUS SIGN}1"])
def test_text_comes_back_as_it_was_and_is_no_formula_in_between(tmp_path: Path, text: str) -> None:
    row = dataclasses.replace(example(Process), reason=text, version=text)
    path = write_rows(tmp_path, Process, [row])
    assert read_rows(tmp_path, Process) == [row]
    with path.open(newline="", encoding="utf-8") as file:
        (cells,) = csv.DictReader(file)
    assert cells["reason"] == cells["version"] == (f"'{text}" if text in FORMULAS else text)


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1", "\r\n=1", "a\rb", "a\r\nb"])
def test_blanks_of_other_kinds_are_no_formula_and_tear_no_line(tmp_path: Path, text: str) -> None:
    row = dataclasses.replace(example(Process), reason=text)
    path = write_rows(tmp_path, Process, [row, row])
    assert [one.reason for one in read_rows(tmp_path, Process)] == [printable(text)] * 2
    with path.open(newline="", encoding="utf-8") as file:
        assert all(one["reason"][0] not in "=+-@\t\r\n" for one in csv.DictReader(file))


def test_numbers_have_no_apostrophe(tmp_path: Path) -> None:
    row = dataclasses.replace(ROUND, seconds=-1.5e-7, page_faults=-3)
    assert "'" not in write_rows(tmp_path, Round, [row]).read_text()
    assert read_rows(tmp_path, Round) == [row]


def test_words_that_no_encoding_has_do_not_stop_a_table(tmp_path: Path) -> None:
    write_rows(tmp_path, Process, [dataclasses.replace(example(Process), reason="b\udcff")])
    assert read_rows(tmp_path, Process)[0].reason == "b?"


@dataclasses.dataclass(frozen=True)
class Older:
    """A file that has got two columns since."""

    case: str
    seconds: float
    noise: float | None = None
    note: str = "none"


def test_a_file_that_lacks_new_columns_is_read_and_one_that_lacks_others_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, Older, "older.csv")
    path = tmp_path / "older.csv"
    path.write_text("case,seconds\na,1.5\n")
    assert read_rows(tmp_path, Older) == [Older("a", 1.5)]
    path.write_text("case,seconds,noise\na,1.5,\nb,2,0.5\n")
    assert read_rows(tmp_path, Older) == [Older("a", 1.5), Older("b", 2.0, 0.5)]
    assert read_rows(write_rows(tmp_path, Older, [Older("a", 1, 2, "x")]).parent, Older) == [Older("a", 1, 2, "x")]
    for text, message in (
        ("case\na\n", "other columns than this version writes .noise, note, seconds"),
        ("case,seconds,note\na,1,x\n", "other columns"),
        ("seconds,case\n1,a\n", "other columns"),
        ("case,seconds,noise,note,more\na,1,,x,y\n", "other columns .* .more."),
        ("case,seconds\na,1,2\n", "line 2 has 3 cells, not 2"),
        ("", "other columns"),
    ):
        path.write_text(text)
        with pytest.raises(ResultsError, match=message):
            read_rows(tmp_path, Older)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_json_that_an_editor_has_saved_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "machine.json").write_text(json.dumps({"cpu": "größer"}, ensure_ascii=False), encoding=encoding)
    assert read_json(tmp_path / "machine.json") == {"cpu": "größer"}
    assert folders.read_machine(tmp_path / "machine.json") == ({"cpu": "größer"}, "")


@pytest.mark.parametrize("resume", [run.resume, train.resume])
def test_a_request_that_an_editor_has_saved_is_understood(tmp_path: Path, resume: Any) -> None:
    """As far as its words go: this one asks for nothing."""
    (tmp_path / "request.json").write_text('{"request": {}, "utc": ""}', encoding="utf-8-sig")
    with pytest.raises(ResultsError, match=r"could be resumed .'(cases|courses)'"):
        resume(tmp_path, lambda interpreters: {})


@pytest.mark.parametrize("resume", [run.resume, train.resume])
@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"request": []}', '{"request": {"cases": 1, "courses": 1}}', "[" * 100_000, "pipe", "folder"],
)
def test_a_request_that_is_none_is_one_line(tmp_path: Path, resume: Any, text: str) -> None:
    if text == "pipe":
        os.mkfifo(tmp_path / "request.json")
    elif text == "folder":
        (tmp_path / "request.json").mkdir()
    else:
        (tmp_path / "request.json").write_text(text)
    with pytest.raises(ResultsError, match=r"request\.json: tells of no ") as refusal:
        resume(tmp_path, lambda interpreters: {})
    assert "\n" not in str(refusal.value)


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "rounds.csv").symlink_to(tmp_path / "precious")
    write_rows(tmp_path, Round, [ROUND])
    assert (tmp_path / "precious").read_text() == "mine"
    assert results.read_rows(tmp_path, Round) == [ROUND]
