"""Oracle: PostgreSQL's catalogue against SQLite's."""

import sqlite3
from contextlib import closing

import psycopg
import pytest

from engine.server import schema
from engine.server.postgres_sql import query
from tests.server.shared import SharedPlace

TYPES = {"INTEGER": "bigint", "REAL": "double precision", "TEXT": "text", "BLOB": "bytea"}


@pytest.mark.parametrize(
    ("sqlite", "postgres"),
    [
        ("SELECT ? + ?", "SELECT %s + %s"),
        ("SELECT :a, :b_2 WHERE :a = 1", "SELECT %(a)s, %(b_2)s WHERE %(a)s = 1"),
        ("SELECT 'is it? 10:30, 5% and ''more'' ?', ?", "SELECT 'is it? 10:30, 5%% and ''more'' ?', %s"),
        ("SELECT 7 % ?", "SELECT 7 %% %s"),
    ],
)
def test_placeholders(sqlite: str, postgres: str) -> None:
    assert query(sqlite) == postgres


def test_both_databases_have_the_same_tables(shared_place: SharedPlace) -> None:
    shared_place.open().close()
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in (statement for migration in schema.MIGRATIONS for statement in migration):
            connection.execute(statement)
        wanted = {
            (table, column, TYPES[kind], bool(required or key))
            for [table] in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 's%'"
            )
            for _, column, kind, required, _, key in connection.execute(f"PRAGMA table_info({table})")
        }
    with psycopg.connect(shared_place.url) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable = 'NO' FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name NOT IN ('pins', 'schema_version', 'queue')"
        ).fetchall()
    assert set(found) == wanted
    assert len(found) > 40
