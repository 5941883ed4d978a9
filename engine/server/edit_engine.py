"""What runs edits for the server: one process of this machine, or replicas of a cluster."""

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from engine.server.messages import EditAccepted, EditDone, EditEnded, EditStep, EngineReady, StartEdit

STARTING: Final = "the edit engine is starting; try again soon"
STOPPING: Final = "the server is stopping; ask again when it is back"

EditEvent = EditAccepted | EditStep | EditDone | EditEnded


class EngineDown(Exception):
    """There is no edit engine right now."""


class EditEngine(Protocol):
    """`engine.server.edit_client.EditClient` is one, `engine.server.ray_edits.RayEdits` another; for one event loop."""

    @property
    def ready(self) -> EngineReady | None:
        """What the engine says of itself; None while no edit can run."""

    @property
    def failure(self) -> str | None:
        """Why the engine cannot start and will not be tried again, or None."""

    @property
    def depth(self) -> int:
        """Edits under way."""

    @property
    def capacity(self) -> int:
        """Edits that may be under way."""

    @property
    def restarts(self) -> int:
        """How often an engine was started again."""

    async def start(self) -> None:
        """Start; it takes edits when it is `ready`."""

    async def stop(self, grace_s: float) -> None:
        """Take no new edits, wait so many seconds for those under way, and cancel what is left."""

    def edit(self, request: StartEdit) -> AsyncGenerator[EditEvent, None]:
        """Run an edit.

        Closing the generator cancels the edit. If its engine dies, it is begun again, and goes through its EditAccepted
        and its steps anew.

        Args:
            request: its id names no other edit under way.

        Yields:
            EditAccepted, then EditSteps, then EditDone; in the place of any of them EditEnded. The last word comes
            when the time is up, at the latest.

        Raises:
            EngineDown: there is no engine right now.
            ValueError: an edit of this id is under way.
        """
