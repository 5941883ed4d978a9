"""What one key may have under way, so that nobody crowds out the others."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.server.caller import Caller
from engine.server.errors import ApiError


class Limits:
    """Counts edits by key: those under way, and those of the last minute.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: defaultdict[str, int] = defaultdict(int)
        self._budgets: dict[str, tuple[float, float]] = {}  # edits left, and when that was so

    @contextmanager
    def admit_edit(self, caller: Caller, edits: int) -> Iterator[None]:
        """Count edits as under way while the context lasts.

        Raises:
            ApiError: "quota_exceeded", with the time until it will not be.
        """
        self._check_under_way(caller, edits)
        self._spend(caller, edits)
        self._under_way[caller.owner] += edits
        try:
            yield
        finally:
            self._under_way[caller.owner] -= edits
            if not self._under_way[caller.owner]:
                del self._under_way[caller.owner]

    def _check_under_way(self, caller: Caller, edits: int) -> None:
        if caller.key is None:
            return
        found, limit = self._under_way.get(caller.owner, 0), caller.key.max_edits
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


def _quota(found: str, retry_after_s: float) -> ApiError:
    return ApiError(429, "quota_exceeded", f"{found}; try again later", retry_after_s=retry_after_s)
