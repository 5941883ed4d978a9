"""The tables, and the way from every older version of them to this one.

A version of the schema is the number of migrations that were applied, which SQLite keeps as `user_version`. A migration
that was released is never changed: what is wrong with it is put right by the next one.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from engine.server.database import Connection
from engine.server.store_errors import StoreError

Migration = tuple[str, ...]

_KEYS = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    token_sha256 TEXT NOT NULL,
    scopes TEXT NOT NULL,
    max_edits INTEGER NOT NULL,
    edits_per_minute INTEGER NOT NULL,
    max_fits INTEGER NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
) STRICT"""

_FITS = """
CREATE TABLE fits (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    image TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempt INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL DEFAULT 0,
    loss REAL,
    losses TEXT NOT NULL DEFAULT '[]',
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    lease_until REAL,
    idempotency_key TEXT,
    payload_digest TEXT,
    UNIQUE (owner, idempotency_key),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL))
) STRICT"""

# One result for one fit, whatever else goes wrong: fit_id is unique.
_TAILS = """
CREATE TABLE tails (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    model_id TEXT NOT NULL,
    model_digest TEXT NOT NULL,
    source_prompt TEXT NOT NULL,
    tail_strength REAL NOT NULL,
    image TEXT,
    fit_id TEXT UNIQUE REFERENCES fits (id) ON DELETE CASCADE,
    created_at REAL NOT NULL,
    data BLOB NOT NULL
) STRICT"""

_CHECKPOINTS = """
CREATE TABLE checkpoints (
    fit_id TEXT PRIMARY KEY REFERENCES fits (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT"""

_PREVIEWS = """
CREATE TABLE previews (
    fit_id TEXT NOT NULL REFERENCES fits (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    image TEXT NOT NULL,
    PRIMARY KEY (fit_id, step)
) STRICT, WITHOUT ROWID"""

_EVENTS = """
CREATE TABLE events (
    fit_id TEXT NOT NULL REFERENCES fits (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (fit_id, seq)
) STRICT, WITHOUT ROWID"""

# The number of an owner's last claim: whoever waited longest for a turn has the next one.
_TURNS = "CREATE TABLE turns (owner TEXT PRIMARY KEY, turn INTEGER NOT NULL) STRICT, WITHOUT ROWID"

# What was begun goes on first; then every owner's first in the order of their turns, then every owner's second, ...
_QUEUE = """
CREATE VIEW queue AS
    SELECT id, row_number() OVER (ORDER BY attempt = 0, round, turn, seq) AS position
    FROM (
        SELECT id, attempt, seq, coalesce(turn, 0) AS turn,
            row_number() OVER (PARTITION BY owner, attempt = 0 ORDER BY seq) AS round
        FROM fits LEFT JOIN turns USING (owner)
        WHERE state = 'queued'
    ) AS waiting"""

_INDICES = (
    "CREATE INDEX fits_by_owner ON fits (owner, seq)",
    "CREATE INDEX fits_under_way ON fits (state, owner) WHERE state IN ('queued', 'running')",
    "CREATE INDEX fits_by_image ON fits (image)",
    "CREATE INDEX tails_by_owner ON tails (owner, seq)",
    "CREATE INDEX tails_by_image ON tails (image)",
    "CREATE INDEX previews_by_image ON previews (image)",
)

# Of a fit's picture and its previews; those of fits that are older than this column count as nothing.
_PICTURE_BYTES = "ALTER TABLE fits ADD COLUMN picture_bytes INTEGER NOT NULL DEFAULT 0"

MIGRATIONS: tuple[Migration, ...] = (
    (_KEYS, _FITS, _TAILS, _CHECKPOINTS, _PREVIEWS, _EVENTS, _TURNS, _QUEUE, *_INDICES),
    (_PICTURE_BYTES,),
)


def version(connection: sqlite3.Connection) -> int:
    """How many migrations were applied."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, backups: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a database to the newest version, wholly or not at all; an older one is copied to `backups` first.

    Raises:
        StoreError: it is of a newer version than is known here.
    """
    found, wanted = version(connection), len(migrations)
    if found > wanted:
        raise StoreError(f"the data is of version {found}, at most {wanted} is known here; install a newer hiper-serve")
    if found == wanted:
        return
    if found > 0:
        _back_up(connection, backups / f"version-{found}-{time.time_ns()}.db")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in (statement for migration in migrations[found:] for statement in migration):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {wanted}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def referred_images(connection: Connection) -> set[str]:
    """The pictures that any row refers to."""
    rows = connection.execute(
        "SELECT image FROM fits UNION SELECT image FROM tails WHERE image IS NOT NULL UNION SELECT image FROM previews"
    )
    return {image for [image] in rows}


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    copy = sqlite3.connect(path)
    try:
        connection.backup(copy)
    finally:
        copy.close()
