"""What the routes work with; the app carries it as `app.state.services`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from engine.server.edit_engine import STARTING
from engine.server.errors import ApiError

if TYPE_CHECKING:
    from engine.manifest import Manifest
    from engine.server.edit_engine import EditEngine
    from engine.server.edit_requests import EditRequests
    from engine.server.fit_events import FitEvents
    from engine.server.fit_prompts import FitPrompts
    from engine.server.fit_runner import FitRunner
    from engine.server.limits import Limits
    from engine.server.messages import EngineReady
    from engine.server.metrics import Metrics
    from engine.server.settings import Settings
    from engine.server.store import Store
    from engine.server.uploads import Uploads
    from engine.server.warm_up import WarmUp


@dataclass(eq=False)
class Services:
    """The parts of a running server.

    Attributes:
        manifest: of the bundle that is served.
        fits: None where nothing can be fitted; `no_fits` says why.
        fit_events: wakes those who watch a fit.
        fit_prompts: refuses what the worker would refuse.
        warm_up: whether the engine paints what it should.
        draining: the server ends, and takes no new work.
    """

    settings: Settings
    manifest: Manifest
    store: Store
    uploads: Uploads
    edits: EditEngine
    fits: FitRunner | None
    metrics: Metrics
    limits: Limits
    requests: EditRequests
    fit_events: FitEvents
    fit_prompts: FitPrompts
    warm_up: WarmUp
    no_fits: str = ""
    draining: bool = False

    def engine(self) -> EngineReady:
        """The engine's description of itself.

        Raises:
            ApiError: there is no engine right now.
        """
        if self.edits.ready is None:
            found = self.edits.failure or STARTING
            raise ApiError(503, "engine_unavailable", found, retry_after_s=2)
        return self.edits.ready


async def services(connection: HTTPConnection) -> Services:
    """FastAPI dependency; were it not async, it would take a thread."""
    found: Services = connection.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]
