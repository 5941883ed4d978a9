"""API keys: shown once, kept as digests."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from engine.server.database import Row
from engine.server.records import SCOPES, Key, Scope
from engine.server.tables import Tables, new_id

_PREFIX = "hiper_"
_ID_CHARACTERS = 20
_NO_DIGEST = "0" * 64


class KeyTable(Tables):
    """The keys part of the store."""

    def add_key(
        self,
        name: str,
        scopes: Iterable[Scope] = ("edit", "fit", "tails"),
        max_edits: int = 8,
        edits_per_minute: int = 60,
        max_fits: int = 2,
    ) -> tuple[Key, str]:
        """Make a key.

        Returns:
            The key and its token, which nobody can tell again: 256 random bits need no slow hash, SHA-256 is kept.

        Raises:
            ValueError: a scope is unknown.
        """
        wanted = frozenset(scopes)
        if unknown := wanted - set(SCOPES):
            raise ValueError(f"scopes has {', '.join(sorted(unknown))}; use {', '.join(SCOPES)}")
        key = Key(new_id("key"), name, wanted, max_edits, edits_per_minute, max_fits, self._clock())
        token = _new_token(key.id)
        columns = (key.id, name, _digest(token), " ".join(sorted(wanted)), max_edits, edits_per_minute, max_fits)
        with self._database.writing() as connection:
            connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", (*columns, key.created_at))
        return key, token

    def rotate_key(self, id: str) -> str | None:
        """Give a key another token, and return it; the old one opens nothing more. None if no such key is in use."""
        token = _new_token(id)
        with self._database.writing() as connection:
            done = connection.execute(
                "UPDATE keys SET token_sha256 = ? WHERE id = ? AND revoked_at IS NULL", (_digest(token), id)
            )
        return token if done.rowcount else None

    def adopt(self, source: str, target: str) -> tuple[int, int] | None:
        """Let all that one owner has be another's from now on.

        Args:
            source: the id of a key, in use or not, or "local".
            target: the id of a key in use.

        Returns:
            How many tails and fits that are; None if there is no such key.
        """
        owners = {"source": source, "target": target}
        with self._database.writing() as connection:
            key = connection.execute("SELECT 1 FROM keys WHERE id = ? AND revoked_at IS NULL", (target,)).fetchone()
            if key is None:
                return None
            # An idempotency key names one fit of an owner: that of the target.
            connection.execute(
                "UPDATE fits SET idempotency_key = NULL WHERE owner = :source AND idempotency_key IN "
                "(SELECT idempotency_key FROM fits WHERE owner = :target)",
                owners,
            )
            tails, fits = (
                connection.execute(f"UPDATE {table} SET owner = :target WHERE owner = :source", owners).rowcount
                for table in ("tails", "fits")
            )
            connection.execute("DELETE FROM turns WHERE owner = :source", owners)
        return tails, fits

    def keys(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute("SELECT * FROM keys ORDER BY created_at, id")]

    def has_keys(self) -> bool:
        """Whether there is a key, or ever was."""
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None

    def revoke_key(self, id: str) -> bool:
        """Let a key work no more; False if there is no such key in use."""
        with self._database.writing() as connection:
            done = connection.execute(
                "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (self._clock(), id)
            )
        return done.rowcount > 0

    def find_key(self, token: str) -> Key | None:
        """The key of a token, unless it is revoked; how long it takes tells nothing of what is stored."""
        if not token.isascii():
            return None
        id = "key_" + token.removeprefix(_PREFIX)[:_ID_CHARACTERS]
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM keys WHERE id = ?", (id,)).fetchone()
        matches = hmac.compare_digest(_digest(token), row["token_sha256"] if row else _NO_DIGEST)
        return _key(row) if matches and row["revoked_at"] is None else None


def _new_token(id: str) -> str:
    return f"{_PREFIX}{id.removeprefix('key_')}{secrets.token_urlsafe(32)}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _key(row: Row) -> Key:
    values = {name: row[name] for name in row.keys() if name not in ("token_sha256", "scopes")}  # noqa: SIM118
    # A key may be older than today's scopes: what it had of others opens nothing.
    return Key(scopes=frozenset(SCOPES).intersection(row["scopes"].split()), **values)
