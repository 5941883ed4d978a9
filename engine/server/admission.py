"""Whether this server takes new work at the moment."""

from engine.server.disk import require_free
from engine.server.errors import ApiError
from engine.server.services import ServicesDep


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
