"""The app of some services on a real socket, in the event loop that the services live in."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from anyio.from_thread import BlockingPortal

from engine.bundle_files import read_manifest
from engine.server.app import create_app
from engine.server.edit_client import EditClient
from engine.server.edit_requests import EditRequests
from engine.server.folder_store import FolderStore
from engine.server.lifecycle import assemble
from engine.server.services import Services
from engine.server.settings import load_settings


@contextmanager
def serving(services: Services, portal: BlockingPortal) -> Iterator[str]:
    """Serve, and say at which address."""
    # asyncio turns Nagle's algorithm off for sockets that say they are TCP, and for no others.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(create_app(services), lifespan="off", log_config=None, ws="none"))
    running = portal.start_task_soon(server._serve, [listener])
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        running.result(30)


@contextmanager
def assembled(
    folder: Path, bundle: Path, edits: EditClient, portal: BlockingPortal, **settings: Any
) -> Iterator[Services]:
    """What the fixture `services` is, for more than one test."""
    chosen = load_settings(bundle=bundle, data_dir=folder, disk_floor_bytes=0, runtime="onnxruntime", **settings)

    async def assemble_there() -> Services:
        return assemble(chosen, store, bundle, read_manifest(bundle))

    with closing(FolderStore(chosen.data_dir)) as store:
        services = portal.call(assemble_there)
        services.edits, services.requests = edits, EditRequests(edits, services.metrics)
        services.warm_up.failure = None
        yield services
        portal.call(services.uploads.close)
