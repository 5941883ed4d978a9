"""Whether this server takes new work at the moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from engine.server.caller import Caller
from engine.server.disk import require_free
from engine.server.errors import ApiError
from engine.server.services import Services, ServicesDep


def require_room(services: ServicesDep) -> None:
    """FastAPI dependency of routes that store something.

    Raises:
        DiskFull: the disk is nearly full.
    """
    require_free(services.settings.data_dir, services.settings.disk_floor_bytes)


async def refuse_while_draining(services: ServicesDep) -> None:
    """FastAPI dependency of routes that begin something.

    Raises:
        ApiError: the server ends.
    """
    if services.draining:
        raise ApiError(503, "draining", "the server is about to end; ask again soon", retry_after_s=5)


@contextmanager
def admit_edits(services: Services, caller: Caller, edits: int) -> Iterator[None]:
    """Count edits as under way while the context lasts, where server and caller may have them.

    Raises:
        ApiError: there are too many.
    """
    if services.edits.depth + edits > services.edits.capacity:
        raise ApiError(503, "busy", "as many edits are under way as there may be; try again soon", retry_after_s=1)
    with services.limits.admit_edit(caller, edits):
        yield
