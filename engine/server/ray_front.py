"""A replica of the front in a cluster of Ray: the application that `hiper-serve` is, whose edits run elsewhere."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from engine.bundle_files import read_manifest
from engine.server import lifecycle
from engine.server.app import create_app
from engine.server.log import set_up_logging
from engine.server.open_store import open_store
from engine.server.ray_edits import RayEdits
from engine.server.ray_engine import HiPerEngine
from engine.server.ray_request_id import OneRequestId
from engine.server.settings import Settings
from engine.server.store import Store
from engine.server.store_errors import StoreError

_LOOK_S: Final = 0.25
# Beyond what an edit in the old front gets: for the fits' checkpoints, and the old front's own end.
_HANDOVER_S: Final = 30.0


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
