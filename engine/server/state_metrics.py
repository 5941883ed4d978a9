"""What of a server's state Prometheus is told whenever it asks."""

from engine.server.disk import free_bytes
from engine.server.services import Services


def watch_state(services: Services) -> None:
    """Let the metrics look at the services."""
    watch, fits, folder = services.metrics.watch, services.fits, services.settings.data_dir
    watch("queue_size", "edits under way, and fits that wait", lambda: services.edits.depth, kind="edits")
    watch("queue_size", "", services.store.queued_fits, kind="fits")
    watch("worker_restarts", "how often a process died", lambda: services.edits.restarts, process="edit_engine")
    if fits is not None:
        watch("worker_restarts", "", lambda: fits.worker_restarts, process="fit_worker")
    watch("engine_up", "whether edits can run", lambda: float(services.edits.ready is not None))
    watch("warm_up_ok", "whether the engine paints what it should", lambda: float(services.warm_up.failure is None))
    watch("draining", "whether the server ends", lambda: float(services.draining))
    watch("disk_free_bytes", "on the disk of the data folder", lambda: free_bytes(folder))
