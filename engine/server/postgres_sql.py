"""The store's SQL in PostgreSQL's words."""

import re
from functools import cache
from typing import Final

# Longer ones first.
_WORDS: Final = {
    "INTEGER PRIMARY KEY AUTOINCREMENT": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
    ") STRICT, WITHOUT ROWID": ")",
    ") STRICT": ")",
}
_PLACEHOLDER: Final = re.compile(r"'[^']*'|\?|:(\w+)|%")


@cache
def query(sql: str) -> str:
    """A statement with psycopg's placeholders for `?` and `:name`; what is quoted stays."""

    def replace(found: re.Match[str]) -> str:
        text = found[0]
        return f"%({found[1]})s" if found[1] else "%s" if text == "?" else text.replace("%", "%%")

    return _PLACEHOLDER.sub(replace, sql)


def definition(sql: str) -> str:
    """A statement that makes or changes a table, with PostgreSQL's types."""
    for sqlite, postgres in _WORDS.items():
        sql = sql.replace(sqlite, postgres)
    return sql
