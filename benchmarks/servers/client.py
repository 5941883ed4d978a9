"""Asks a server for edits over HTTP: one, or many that arrive over time, whatever became of those before."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PATH = "/v1/images/generations"
PATIENCE_S = 120.0
_MOST_UNDER_WAY = 512
_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, eq=False)
class Answer:
    """What came back.

    Attributes:
        latency_ms: from arrival to the last byte.
        ended_s: when that was, by `time.perf_counter`.
        status: of HTTP; 0 where there was no answer.
        body: as it came, read by nobody yet, since that would take time from the server.
    """

    latency_ms: float
    ended_s: float
    status: int
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """The JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def picture(self) -> NDArray[np.uint8]:
        """The picture, (H, W, 3).

        Raises:
            RuntimeError: there is none.
        """
        if self.status != 200:
            raise RuntimeError(f"the server answered {self.status} instead of 200: {self.body[:200]!r}")
        file = base64.b64decode(self.content["data"][0]["b64_json"])
        return np.asarray(Image.open(io.BytesIO(file), formats=("PNG",)).convert("RGB"))


class Client:
    """Keeps a connection for every request under way, as the threads of a busy caller do.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(_MOST_UNDER_WAY)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    def ask(self, body: bytes, arrival_s: float | None = None) -> Answer:
        """Ask for one edit and wait for it; its latency counts from `arrival_s`, or from now."""
        arrival_s = time.perf_counter() if arrival_s is None else arrival_s
        status, answer = self._exchange(body)
        ended_s = time.perf_counter()
        return Answer(1e3 * (ended_s - arrival_s), ended_s, status, answer)

    def submit(self, body: bytes, arrival_s: float) -> Future[Answer]:
        """Ask from a thread."""
        return self._threads.submit(self.ask, body, arrival_s)

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        """Send and receive, a second time where the server had closed a connection that was long idle."""
        for _ in range(2):
            connection: HTTPConnection | None = getattr(self._own, "connection", None)
            if connection is None:
                connection = self._own.connection = HTTPConnection(*self._address, timeout=PATIENCE_S)
            try:
                connection.request("POST", PATH, body, _HEADERS)
                response = connection.getresponse()
                return response.status, response.read()
            except ConnectionError:
                self._forget(connection)
            except (OSError, HTTPException) as error:
                self._forget(connection)
                return 0, str(error).encode()
        return 0, b"the server closes every connection"

    def _forget(self, connection: HTTPConnection) -> None:
        connection.close()
        self._own.connection = None


def play(address: tuple[str, int], bodies: Sequence[bytes], arrivals_s: Sequence[float]) -> list[Answer]:
    """Ask for edits at their times, and wait for all answers.

    Args:
        address: host and port.
        bodies: are taken in turns.
        arrivals_s: growing, from 0.
    """
    with Client(*address) as client:
        start, futures = time.perf_counter(), []
        for index, arrival_s in enumerate(arrivals_s):
            time.sleep(max(0.0, start + arrival_s - time.perf_counter()))
            futures.append(client.submit(bodies[index % len(bodies)], start + arrival_s))
        return [future.result() for future in futures]
