"""What runs in the cluster: fronts with the application of `hiper-serve`, and edit engines with a device each."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, closing
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from engine.bundle_files import read_manifest
from engine.server import lifecycle
from engine.server.app import create_app
from engine.server.edit_client import EditClient
from engine.server.edit_engine import EngineDown
from engine.server.engine_options import EngineOptions
from engine.server.log import set_up_logging
from engine.server.messages import StartEdit, UnetCall
from engine.server.open_store import open_store
from engine.server.ray_edits import EngineStatus, RayEdits, Told
from engine.server.ray_request_id import OneRequestId
from engine.server.settings import Settings
from engine.server.store import Store
from engine.server.store_errors import StoreError
from engine.server.warm_up import WarmUp

_LOOK_S: Final = 0.25
# Beyond what an edit in the old front gets: for the fits' checkpoints, and the old front's own end.
_HANDOVER_S: Final = 30.0

logger = logging.getLogger(__name__)


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


@serve.ingress()
class HiPerFront:
    """A replica: the application that `hiper-serve` is, whose edits run elsewhere.

    Args:
        settings: as `Settings` takes them.
        bundle: that the engines run.
        engines: the deployment of them.
    """

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, settings: Mapping[str, Any], bundle: Path, engines: DeploymentHandle[HiPerEngine]
    ) -> None:
        chosen = Settings(**settings)
        set_up_logging(chosen.log_format)
        # Ray's own: one thread for who reserves no core, but a fit's process takes all that are idle.
        os.environ.pop("OMP_NUM_THREADS", None)
        self._stack = AsyncExitStack()
        store = self._stack.enter_context(closing(await _open_store(chosen)))
        lifecycle.check_exposure(chosen, store)
        self.services = lifecycle.assemble(
            chosen,
            store,
            bundle,
            read_manifest(bundle),
            lambda metrics: RayEdits(engines, chosen.max_edits * chosen.most_replicas, metrics.on_call),
        )
        await self._stack.enter_async_context(lifecycle.started(self.services))
        lifecycle.serve_metrics(self.services, serve.get_replica_context().rank.local_rank)

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = create_app(self.services)
        app.add_middleware(OneRequestId)
        return app

    async def drain(self) -> None:
        """End what is under way, as at SIGTERM on one machine."""
        await lifecycle.drain(self.services)

    async def __del__(self) -> None:
        """Ray has let the requests finish, as far as there was time."""
        await self._stack.aclose()


async def _open_store(settings: Settings) -> Store:
    """Open the store, and wait if the front that this one replaces still has it.

    Raises:
        StoreError: it cannot be opened, even then.
    """
    end = time.monotonic() + settings.drain_s + _HANDOVER_S
    while True:
        try:
            return await asyncio.to_thread(open_store, settings)
        except StoreError:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(_LOOK_S)
