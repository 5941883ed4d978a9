"""Tail files that came lately, parsed: the same file is the same object, and is checked once."""

import hashlib
from collections import OrderedDict
from typing import Final

from engine.tail_file import TailFile, parse_tail_file

MAX_SIZE_BYTES: Final = 64 * 2**20  # some four thousand tails of five rows


class TailCache:
    """Keeps the most recently used tails, as many as fit into `max_size_bytes` as files; for one thread."""

    def __init__(self, max_size_bytes: int = MAX_SIZE_BYTES) -> None:
        self._room_bytes = max_size_bytes
        self._tails: OrderedDict[bytes, tuple[TailFile, int]] = OrderedDict()

    def parse(self, data: bytes) -> TailFile:
        """Check the content of a tail file, or know it already.

        Raises:
            TailError: it is not a tail file.
        """
        digest = hashlib.sha256(data).digest()
        if digest not in self._tails:
            self._tails[digest] = parse_tail_file(data), len(data)
            self._room_bytes -= len(data)
        self._tails.move_to_end(digest)
        tail, _ = self._tails[digest]
        while self._room_bytes < 0:
            _, (_, size_bytes) = self._tails.popitem(last=False)
            self._room_bytes += size_bytes
        return tail
