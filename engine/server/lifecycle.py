"""A server's life: its parts are put together and started, it serves, and at a signal it ends what it has begun."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import uvicorn

from engine.errors import HiPerError
from engine.manifest import Manifest
from engine.server.app import create_app
from engine.server.console import INTERRUPTED
from engine.server.edit_client import EditClient
from engine.server.edit_engine import EditEngine
from engine.server.edit_requests import EditRequests
from engine.server.engine_options import EngineOptions
from engine.server.first_bundle import find_bundle
from engine.server.fit_events import FitEvents
from engine.server.fit_prompts import FitPrompts
from engine.server.fit_runner import FitRunner
from engine.server.http_protocol import HttpProtocol
from engine.server.limits import Limits
from engine.server.metrics import Metrics
from engine.server.open_store import open_store
from engine.server.origin import is_loopback
from engine.server.services import Services
from engine.server.settings import Settings
from engine.server.state_metrics import watch_state
from engine.server.store import Store
from engine.server.uploads import UploadLimits, Uploads
from engine.server.warm_up import WarmUp

logger = logging.getLogger(__name__)

# For requests that are no edits, and for children to exit by themselves.
_CLOSE_S: Final = 5
_LOOK_S: Final = 0.05
_BACKLOG: Final = 2048


class ServerError(HiPerError):
    """The server cannot start as it was asked to."""

    exit_code = 14


def serve(settings: Settings, announce: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT; a second SIGINT does not wait for what is under way.

    Args:
        settings: all of them.
        announce: told the address once somebody listens there.

    Raises:
        ServerError: it cannot listen there, or must not without a key.
        StoreError: another server has the data folder, or the shared store cannot be reached.
        BundleError: there is no bundle to serve.
    """
    with contextlib.closing(open_store(settings)) as store:
        check_exposure(settings, store)
        with open_listener(settings.host, settings.port) as listener:
            bundle, manifest = find_bundle(settings)
            asyncio.run(_serve(assemble(settings, store, bundle, manifest), listener, announce))


def check_exposure(settings: Settings, store: Store) -> None:
    """Refuse to let strangers in.

    Raises:
        ServerError: it can be reached from elsewhere, outright or through a proxy, and there is no key.
    """
    names = [*settings.allowed_hosts, *([] if is_loopback(settings.host) else [settings.host])]
    if names and not _has_key(store):
        raise ServerError(
            f"{', '.join(names)} can be reached from other machines but there is no key; make one with: "
            f"hiper-serve keys add NAME --data-dir {settings.data_dir}"
        )


def _has_key(store: Store) -> bool:
    return any(key.revoked_at is None for key in store.keys())  # noqa: SIM118  it is no mapping


def assemble(
    settings: Settings,
    store: Store,
    bundle: Path,
    manifest: Manifest,
    make_edits: Callable[[Metrics], EditEngine] | None = None,
) -> Services:
    """Make all parts, none of them started; `make_edits` makes another engine than the one of this machine."""
    metrics = Metrics()
    store.count_ends(metrics.on_fit_end)
    edits = make_edits(metrics) if make_edits else EditClient(engine_options(settings, bundle), metrics.on_call)
    no_fits = why_no_fits(settings)
    services = Services(
        settings=settings,
        manifest=manifest,
        store=store,
        uploads=Uploads(UploadLimits(max_bytes=settings.max_body_bytes, max_pixels=settings.max_pixels)),
        edits=edits,
        fits=None if no_fits else FitRunner(store, edits, settings, metrics),
        metrics=metrics,
        limits=Limits(),
        requests=EditRequests(edits, metrics),
        fit_events=FitEvents(store),
        fit_prompts=FitPrompts(bundle, manifest),
        warm_up=WarmUp(edits, bundle, settings.data_dir / "warm_up", metrics.on_engine),
        no_fits=no_fits,
    )
    watch_state(services)
    return services


def engine_options(settings: Settings, bundle: Path) -> EngineOptions:
    """How the settings want the edit engine to run."""
    return EngineOptions(
        bundle,
        settings.runtime,
        settings.precision,
        settings.threads,
        settings.device,
        buckets=settings.buckets,
        max_edits=settings.max_edits,
    )


def why_no_fits(settings: Settings) -> str:
    """Why nothing can be fitted here; empty if it can."""
    if not settings.fits:
        return "this server makes no fits; bring a tail that hiper-fit made, or let the operator turn fits on"
    if find_spec("torch") is None:
        return "this server has no PyTorch to fit with; bring a tail that hiper-fit made, or pip install 'hiper[fit]'"
    return ""


@contextlib.asynccontextmanager
async def started(services: Services) -> AsyncIterator[None]:
    """Start all parts, and stop them at the end."""
    await services.edits.start()
    await services.uploads.start()
    if services.fits is not None:
        await services.fits.start()
    warming = asyncio.create_task(services.warm_up.run())
    try:
        yield
    finally:
        warming.cancel()
        services.fit_events.close()
        if services.fits is not None:
            await services.fits.stop(0)
        await services.edits.stop(_CLOSE_S)
        await services.uploads.close()
        services.metrics.close()


async def drain(services: Services) -> None:
    """Take nothing new, and wait for the edits under way and the fits' checkpoints, `drain_s` at most."""
    services.draining = True
    grace_s = services.settings.drain_s
    logger.info("ending; edits under way get %g s", grace_s)
    fits = asyncio.create_task(services.fits.stop(grace_s)) if services.fits is not None else None
    end = time.monotonic() + grace_s
    while services.edits.depth and time.monotonic() < end:
        await asyncio.sleep(_LOOK_S)
    if fits is not None:
        await fits
    # Whoever still waits is told so, instead of losing the connection.
    await services.edits.stop(0)
    services.fit_events.close()


async def _serve(services: Services, listener: socket.socket, announce: Callable[[str], object]) -> None:
    settings, server = services.settings, _Server(_uvicorn_config(services))
    listener.listen(_BACKLOG)
    async with started(services):
        with _signals(services, server):
            serve_metrics(services)
            announce(url_of(settings.host, listener))
            await server.serve([listener])
    logger.info("ended")


def serve_metrics(services: Services, number: int = 0) -> None:
    """Answer Prometheus, if it is wanted, with as many ports between as there are other fronts on this machine.

    Raises:
        ServerError: the port is taken.
    """
    host, port = services.settings.metrics_host, services.settings.metrics_port
    if not port:
        return
    port += number
    try:
        services.metrics.serve(host, port)
    except OSError as error:
        found = f"cannot serve metrics at {host} port {port}: {error.strerror}"
        raise ServerError(f"{found}; name another with --metrics-port, or 0 for none") from error


def _uvicorn_config(services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(services),
        http=HttpProtocol,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=services.settings.max_connections,
        timeout_graceful_shutdown=_CLOSE_S,
        backlog=_BACKLOG,
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would cut off what is under way."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _signals(services: Services, server: uvicorn.Server) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    async def end() -> None:
        try:
            await drain(services)
        finally:
            server.should_exit = True

    def on_signal(number: int) -> None:
        if not ending:
            ending.append(loop.create_task(end()))
        elif number == signal.SIGINT:
            # What is stored is whole at every moment, and the children end with their sockets.
            os._exit(INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def open_listener(host: str, port: int) -> socket.socket:
    """A socket that has the address but does not listen yet, so that a long first start fails at once or not at all."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio turns Nagle's algorithm off only for sockets that say they are TCP; with it an answer may take 40 ms.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ServerError(
            f"cannot listen at {host} port {port}: {error.strerror}; name another with --host and --port"
        ) from error
    return listener


def url_of(host: str, listener: socket.socket) -> str:
    """The address as a browser takes it, without a slash at the end."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
