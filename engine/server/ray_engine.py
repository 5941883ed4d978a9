"""A replica of the edit engine in a cluster of Ray: a device, a process, a batch of rows."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from engine.server.edit_client import EditClient
from engine.server.edit_engine import EngineDown
from engine.server.engine_options import EngineOptions
from engine.server.log import set_up_logging
from engine.server.messages import StartEdit, UnetCall
from engine.server.ray_edits import EngineStatus, Told
from engine.server.warm_up import WarmUp


class HiPerEngine:
    """A replica: an edit engine in a process of its own, with its device and its batch.

    Args:
        options: of the engine.
        warm_up: this machine's folder for the picture that an engine has to paint before it gets work.
        log_format: as in `Settings`.

    Raises:
        EngineDown: it cannot start, or paints something else than before.
    """

    async def __init__(self, options: EngineOptions, warm_up: Path, log_format: Any) -> None:  # type: ignore[misc]  # Ray awaits it
        set_up_logging(log_format)
        self._calls: list[UnetCall] = []
        self._client = EditClient(options, self._calls.append)
        await self._client.start()
        await self._client.wait_ready()
        if (failure := await WarmUp(self._client, options.bundle, warm_up).check()) is not None:
            raise EngineDown(failure)

    async def edit(self, request: StartEdit) -> AsyncGenerator[Told, None]:
        """Run an edit; the calls of the UNet since whoever's last event come with each of its events.

        Raises:
            EngineDown: the engine is gone for good.
        """
        # It may have crashed and be on its way back; the front keeps the time.
        await self._client.wait_ready()
        async with aclosing(self._client.edit(request)) as events:
            async for event in events:
                calls = self._calls.copy()
                self._calls.clear()
                yield [*calls, event]

    async def status(self) -> EngineStatus:
        """How it is; asked now and then by every front."""
        return EngineStatus(self._client.ready, self._client.restarts)

    async def check_health(self) -> None:
        """Asked by Ray, which replaces a replica that says no three times."""
        if self._client.ready is None:
            raise EngineDown(self._client.failure or "the edit engine is starting again")

    async def __del__(self) -> None:
        """Ray has let the edits finish, as far as there was time."""
        await self._client.stop(0)
