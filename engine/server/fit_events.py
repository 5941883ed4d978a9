"""Wakes those who watch a fit, in the event loop, when the store says from any thread that there is news."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator

from engine.server.records import FINAL, Event
from engine.server.store import Store


class FitEvents:
    """The news of all fits, for watchers in one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._closed = False
        store.watch(self._tell)

    async def follow(self, owner: str, fit_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """All events of a fit after the one of that number, as they come; ends with the fit, or at `close`."""
        self._loop, news = asyncio.get_running_loop(), asyncio.Event()
        self._watchers[fit_id].add(news)
        try:
            while not self._closed:
                news.clear()
                ended, events = await asyncio.to_thread(self._read, owner, fit_id, after)
                for event in events:
                    yield event
                    after = event.seq
                if ended:
                    return
                await news.wait()
        finally:
            self._leave(fit_id, news)

    def _read(self, owner: str, fit_id: str, after: int) -> tuple[bool, list[Event]]:
        """Whether the fit has ended, or is gone, and its events; the state first, lest the last event be missed."""
        fit = self._store.fit(owner, fit_id)
        return fit is None or fit.state in FINAL, self._store.events(fit_id, after)

    def close(self) -> None:
        """Let all watchers go; they come back to the next server with the number of the last event they saw."""
        self._closed = True
        for fit_id in list(self._watchers):
            self._wake(fit_id)

    def _tell(self, fit_id: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, fit_id)

    def _wake(self, fit_id: str) -> None:
        for news in self._watchers.get(fit_id, ()):
            news.set()

    def _leave(self, fit_id: str, news: asyncio.Event) -> None:
        self._watchers[fit_id].discard(news)
        if not self._watchers[fit_id]:
            del self._watchers[fit_id]
