"""Messages on their way out, for threads that must not wait for the reader."""

import queue
import socket
import threading
from typing import Final

from engine.server.messages import Message
from engine.server.wire import send

CROWD: Final = 64


class Outbox:
    """Sends messages in the order they were put, in a thread of its own; any thread may put.

    What nobody reads is kept until the process ends: whoever puts much looks at `crowded` first.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="hiper-outbox", daemon=True)
        self._thread.start()

    @property
    def crowded(self) -> bool:
        """Whether the reader is slow, and what can be left out should be."""
        return self._messages.qsize() >= CROWD

    def put(self, message: Message) -> None:
        """Send a message soon."""
        self._messages.put(message)

    def close(self) -> None:
        """Return when everything is sent, or nobody is there to read it."""
        self._messages.put(None)
        self._thread.join()

    def _send_all(self) -> None:
        for message in iter(self._messages.get, None):
            try:
                send(self._connection, message)
            except OSError:
                return
