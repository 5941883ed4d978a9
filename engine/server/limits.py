"""What one key may have under way, so that nobody crowds out the others."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from weakref import WeakValueDictionary

from engine.server.caller import Caller
from engine.server.errors import ApiError

# A page in every tab of a browser, and more; without an end one caller could have all connections.
STREAMS: Final = 32


class Limits:
    """Counts by key: edits under way and of the last minute, and streams of events that are open.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._edits: defaultdict[str, int] = defaultdict(int)
        self._streams: defaultdict[str, int] = defaultdict(int)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._budgets: dict[str, tuple[float, float]] = {}  # edits left, and when that was so

    @contextmanager
    def admit_edit(self, caller: Caller, edits: int) -> Iterator[None]:
        """Count edits as under way while the context lasts.

        Raises:
            ApiError: "quota_exceeded", with the time until it will not be; "beyond_quota" if it always will be.
        """
        _check_possible(caller, edits)
        self._check_under_way(caller, edits)
        self._spend(caller, edits)
        with _counted(self._edits, caller.owner, edits):
            yield

    @contextmanager
    def admit_stream(self, caller: Caller) -> Iterator[None]:
        """Count a stream as open while the context lasts.

        Raises:
            ApiError: "quota_exceeded".
        """
        if self._streams.get(caller.owner, 0) >= STREAMS:
            raise _quota(f"{STREAMS} streams of events are open, which is all that one caller may have; close some", 5)
        with _counted(self._streams, caller.owner, 1):
            yield

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait until nothing else of the caller's has its turn: in a queue of all, everybody stands once."""
        async with self._turns.setdefault(caller.owner, asyncio.Lock()):
            yield

    def give_back(self, caller: Caller, edits: int) -> None:
        """Take no edits from the minute's after all."""
        if caller.key is not None and caller.owner in self._budgets:
            left, then = self._budgets[caller.owner]
            self._budgets[caller.owner] = (left + edits, then)

    def _check_under_way(self, caller: Caller, edits: int) -> None:
        if caller.key is None:
            return
        found, limit = self._edits.get(caller.owner, 0), caller.key.max_edits
        if found + edits > limit:
            raise _quota(f"{found} edits of this key are under way and {edits} more were asked, {limit} are allowed", 1)

    def _spend(self, caller: Caller, edits: int) -> None:
        """A bucket that holds a minute's edits and fills evenly."""
        if caller.key is None:
            return
        now, limit = self._clock(), float(caller.key.edits_per_minute)
        left, then = self._budgets.get(caller.owner, (limit, now))
        left = min(limit, left + (now - then) * limit / 60)
        if edits > left:
            wait_s = (edits - left) * 60 / limit if limit else 60.0
            raise _quota(
                f"{edits} edits were asked of {limit:g} a minute that the key allows, {left:.0f} are left", wait_s
            )
        self._budgets[caller.owner] = (left - edits, now)


def _check_possible(caller: Caller, edits: int) -> None:
    """Waiting never helps who asks for more at once than is ever allowed."""
    if caller.key is None:
        return
    limit = min(caller.key.max_edits, caller.key.edits_per_minute)
    if edits > limit:
        found = f"n is {edits} but the key allows {limit} edits at once, which no waiting changes"
        raise ApiError(422, "beyond_quota", f"{found}; ask for fewer, or for a key that allows more", param="n")


@contextmanager
def _counted(counts: defaultdict[str, int], owner: str, number: int) -> Iterator[None]:
    counts[owner] += number
    try:
        yield
    finally:
        counts[owner] -= number
        if not counts[owner]:
            del counts[owner]


def _quota(found: str, retry_after_s: float) -> ApiError:
    return ApiError(429, "quota_exceeded", f"{found}; try again later", retry_after_s=retry_after_s)
