"""Messages on their way out, for threads that must not wait for the reader."""

import socket
import threading
from typing import Final

from engine.server.messages import Message
from engine.server.wire import encode

CROWD: Final = 64
# Whoever sends or reads wakes up for it, on the cores that the networks compute on.
LINGER_S: Final = 0.02


class Outbox:
    """Sends messages in the order they were put, in a thread of its own; any thread may put.

    What nobody reads is kept until the process ends: whoever puts much looks at `crowded` first.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._changed = threading.Condition()
        self._messages: list[Message] = []
        self._urgent = 0
        self._closed = False
        self._thread = threading.Thread(target=self._send_all, name="hiper-outbox", daemon=True)
        self._thread.start()

    @property
    def crowded(self) -> bool:
        """Whether the reader is slow, and what can be left out should be."""
        return self._urgent >= CROWD

    def put(self, message: Message, *, urgent: bool = True) -> None:
        """Send a message at once, or within LINGER_S, together with what comes meanwhile."""
        with self._changed:
            self._messages.append(message)
            self._urgent += urgent
            if urgent or len(self._messages) == 1:
                self._changed.notify()

    def close(self) -> None:
        """Return when everything is sent, or nobody is there to read it."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _send_all(self) -> None:
        while messages := self._take():
            try:
                self._connection.sendall(b"".join(map(encode, messages)))
            except OSError:
                return

    def _take(self) -> list[Message]:
        """What there is to send; nothing when all is sent, and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._closed)
            self._changed.wait_for(lambda: self._urgent or self._closed, LINGER_S)
            messages, self._messages = self._messages, []
            self._urgent = 0
        return messages
