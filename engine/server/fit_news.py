"""News of fits from other servers, by PostgreSQL's LISTEN and NOTIFY."""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from engine.server.postgres_database import PostgresDatabase
from engine.server.store_errors import StoreError

CHANNEL: Final = "hiper_fits"
_LOOK_S: Final = 0.5
_RETRY_S: Final = 1.0
_MARGIN_S: Final = 60.0

_log = logging.getLogger(__name__)


class FitNews:
    """Listens in a thread of its own.

    Args:
        database: is listened to by a connection of its own.
        tell: told a fit's id for each event of another server; its own are known already.
    """

    def __init__(self, database: PostgresDatabase, tell: Callable[[str], object]) -> None:
        self._database, self._tell = database, tell
        self._me = secrets.token_hex(8)
        self._heard_at = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def sign(self, fit_id: str) -> str:
        """What is sent about a fit: who sends it, and its id."""
        return f"{self._me} {fit_id}"

    def start(self) -> None:
        """Listen from now on."""
        if self._thread is None:
            self._heard_at = self._now()
            self._thread = threading.Thread(target=self._run, name="hiper-fit-news", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (psycopg.Error, StoreError) as error:
                _log.warning("fits of other servers are not heard of: %s", error)
                self._ended.wait(_RETRY_S)

    def _listen(self) -> None:
        with contextlib.closing(self._database.connect()) as connection, self._database.errors():
            connection.execute(f"LISTEN {CHANNEL}")
            self._catch_up()
            while not self._ended.is_set():
                self._heard_at = self._now()
                for note in connection.notifies(timeout=_LOOK_S):
                    sender, _, fit_id = note.payload.partition(" ")
                    if sender != self._me:
                        self._tell(fit_id)

    def _now(self) -> float:
        return time.time() + self._database.skew_s

    def _catch_up(self) -> None:
        """Tell of each fit that may have changed while nobody listened."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id FROM fits WHERE state IN ('queued', 'running') OR finished_at >= ?",
                (self._heard_at - _MARGIN_S,),
            ).fetchall()
        for [fit_id] in rows:
            self._tell(fit_id)
