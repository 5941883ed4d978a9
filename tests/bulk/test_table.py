"""Tables of every kind say the same; what is no table is refused in words."""

import contextlib
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from engine.bulk.errors import TableError
from engine.bulk.rows import EditRow, FitRow, mark, read_rows
from engine.bulk.table import read_table
from tests.bulk.conftest import WriteTable

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
Write = Callable[[Path, dict[str, list[str]]], None]


def read(path: Path) -> list[EditRow]:
    tasks = read_rows(path, EditRow, lambda row: "", {})
    return [task.row for task in tasks if isinstance(task.row, EditRow)]


def write_csv(path: Path, columns: dict[str, list[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*columns], *zip(*columns.values(), strict=True)])


def write_json_lines(path: Path, columns: dict[str, list[str]]) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def write_parquet(path: Path, columns: dict[str, list[str]]) -> None:
    parquet.write_table(pyarrow.table(columns), path)


def test_all_kinds_of_tables_say_the_same(write_table: WriteTable, tmp_path: Path) -> None:
    rows = [
        {"id": "7", "prompt": "a dög, sitting", "tail": "rex", "seed": 2**64 - 1, "guidance_scale": 3.5},
        {"id": "007", "prompt": 'a "cat"', "tail": "/rex", "seed": None, "guidance_scale": None},
    ]
    table = write_table([{name: "" if value is None else value for name, value in row.items()} for row in rows])
    lines = tmp_path / "table.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["seed"] = pyarrow.array(columns["seed"], pyarrow.uint64())
    parquet.write_table(pyarrow.table(columns), tmp_path / "table.parquet")
    wanted = [
        EditRow(id="7", prompt="a dög, sitting", tail=str(tmp_path / "rex"), seed=2**64 - 1, guidance_scale=3.5),
        EditRow(id="007", prompt='a "cat"', tail="/rex"),
    ]
    assert read(table) == read(lines) == read(tmp_path / "table.parquet") == wanted


def test_an_empty_cell_among_numbers_may_be_nan_and_makes_its_neighbours_fractions(tmp_path: Path) -> None:
    seeds = pyarrow.array([7.0, float("nan")], pyarrow.float64())
    columns = {"id": [1, 2], "prompt": ["a", "b"], "tail": ["c", "d"], "seed": seeds}
    parquet.write_table(pyarrow.table(columns), tmp_path / "table.parquet")
    assert [(row.id, row.seed) for row in read(tmp_path / "table.parquet")] == [("1", 7), ("2", 0)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("table.xlsx", b"", "is no table by its name; let it end in one of .csv, .jsonl, .ndjson, .parquet"),
        ("missing.csv", None, "cannot be read as a table: .*No such file"),
        ("table.csv", b"", "has no rows"),
        ("table.csv", b"id,prompt\n", "has no rows"),
        ("table.csv", b"id,id\n1,2\n", "its header has a name twice"),
        ("table.csv", b"id,prompt\n1,a,b\n", "row 1 has more cells than the header"),
        ("table.csv", b"id\n\xff\n", "cannot be read as a table: .*utf-8"),
        ("table.jsonl", b"[1]\n", "row 1 is no object"),
        ("table.jsonl", b"{", "cannot be read as a table"),
        ("table.jsonl", b'{"id": 1, "id": 2}', "a key is there twice"),
        ("table.jsonl", b"[" * 100_000, "nested too deeply"),
        ("table.parquet", b"PAR1", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=words):
        read_table(tmp_path / name)


@SAME_FOLDER
@given(st.binary(max_size=200), st.sampled_from(["csv", "jsonl", "parquet"]))
def test_whatever_the_bytes_there_are_rows_or_an_error(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / f"table.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(TableError):
        assert read(path)


@pytest.mark.parametrize(
    ("kind", "write"), [("csv", write_csv), ("jsonl", write_json_lines), ("parquet", write_parquet)]
)
@SAME_FOLDER
@given(st.lists(TEXT, min_size=1, max_size=5))
def test_prompts_come_through_as_they_are(tmp_path: Path, kind: str, write: Write, prompts: list[str]) -> None:
    path, numbers = tmp_path / f"table.{kind}", [str(number) for number in range(len(prompts))]
    write(path, {"id": numbers, "prompt": prompts, "tail": ["t"] * len(prompts)})
    assert [row.prompt for row in read(path)] == prompts


def test_all_bad_rows_are_named(write_table: WriteTable) -> None:
    def check(row: FitRow) -> str:
        if row.seed == 13:
            raise ValueError("seed is 13, which brings bad luck")
        return ""

    good = {"prompt": "a dog", "image": "rex.png", "name": "", "seed": ""}
    path = write_table(
        [
            good | {"id": "rex"},
            good | {"id": "../rex"},
            good | {"id": "one", "name": "REX"},
            good | {"id": "two", "seed": "many"},
            good | {"id": "three", "prompt": ""},
            good | {"id": "four", "seed": 13},
            good | {"id": "rex", "name": "five"},
        ]
    )
    with pytest.raises(TableError) as refused:
        read_rows(path, FitRow, check, {})
    [first, *lines] = str(refused.value).split("\n  ")
    assert first == f"{path} has rows that cannot be done; correct these and ask again:"
    patterns = [
        r"row 2 \(../rex\): id is '../rex' but names a file; use up to 120 of A-Z a-z 0-9 . _ -",
        r"row 4 \(two\): Expected `int`, got `str` - at `\$.seed`",
        r"row 5 \(three\): Object missing required field `prompt`",
        r"row 6 \(four\): seed is 13, which brings bad luck",
        r"id rex is there twice",
        r"name REX is there twice",
    ]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line)


def test_an_unknown_column_is_no_silent_default(write_table: WriteTable) -> None:
    path = write_table([{"id": 1, "prompt": "a", "image": "b", "sede": 3}])
    with pytest.raises(TableError, match="unknown field `sede`"):
        read_rows(path, FitRow, lambda row: "", {})


@pytest.mark.parametrize("prompt", [["a dog"], {"a": "dog"}, True, False])
def test_only_text_and_numbers_are_taken(tmp_path: Path, prompt: Any) -> None:
    (tmp_path / "table.jsonl").write_text(json.dumps({"id": 1, "prompt": prompt, "tail": "t"}))
    with pytest.raises(TableError, match=r"row 1 \(1\): prompt is .* but must be text or a number"):
        read(tmp_path / "table.jsonl")


def test_of_many_bad_rows_the_first_are_named(write_table: WriteTable) -> None:
    path = write_table([{"id": number, "prompt": "", "tail": "t"} for number in range(1000)])
    with pytest.raises(TableError) as refused:
        read(path)
    [_, *lines] = str(refused.value).split("\n  ")
    assert len(lines) == 51 and lines[49].startswith("row 50 (49)") and lines[50] == "and 950 more"


def test_a_mark_tells_rows_apart_but_not_folders() -> None:
    row = EditRow(id="1", prompt="a", tail="t")
    others = [EditRow(id="1", prompt="b", tail="t"), EditRow(id="1", prompt="a", tail="t", seed=1)]
    assert mark(row, "x") == mark(EditRow(id="1", prompt="a", tail="/moved/t"), "x")
    assert len({mark(row, "x"), mark(row, "y"), *(mark(other, "x") for other in others)}) == 4
