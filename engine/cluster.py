"""`hiper-serve --ray`: the same application as on one machine, on Ray Serve, which does all that spreads work.

A front answers HTTP and owns the data, an engine owns a device and has a batch of rows. Ray starts them, starts them
again, and sends each edit to the engine with the shorter queue of two. `application` is what a configuration file of
Ray Serve names, as `import_path: engine.cluster:application`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.ray_cluster import joined, require_ray
from engine.server.first_bundle import find_bundle
from engine.server.lifecycle import ServerError, check_exposure, open_listener, url_of
from engine.server.open_store import open_store
from engine.server.settings import Settings, load_settings

if TYPE_CHECKING:
    from ray.serve import Application

NAME: Final = "hiper"

# Ray misses a dead proxy after three checks, 10 s apart, and on a busy machine takes one that starts for dead in 15 s.
_WISHED: Final = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
}
# Events and pictures pass through it, and are gone when they were read.
_OBJECT_STORE_BYTES: Final = 200 * 2**20
_PROXY_S: Final = 120.0
_LOOK_S: Final = 0.1


def serve(settings: Settings, announce: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT; a cluster that was there before stays, without the application.

    Args:
        settings: all of them.
        announce: told the address once the application answers there.

    Raises:
        RuntimeMissingError: Ray is not installed.
        ClusterError: it cannot be started or joined.
        ServerError: the application does not start.
        StoreError: another server has the data folder, or the shared store cannot be reached.
        BundleError: there is no bundle to serve.
    """
    require_ray()
    with contextlib.closing(open_store(settings)) as store:
        check_exposure(settings, store)
    with open_listener(settings.host, settings.port) as listener:
        url, port = url_of(settings.host, listener), int(listener.getsockname()[1])
    bundle, _ = find_bundle(settings)
    stdout = sys.stdout
    # Ray repeats there what its processes print.
    with redirect_stdout(sys.stderr), _cluster(settings), _signals() as told, _deployed(settings, bundle, port):
        with redirect_stdout(stdout):
            announce(url)
        told.wait()


def application(options: Mapping[str, Any]) -> Application:
    """The application with settings as `Settings` names them, for configuration files of Ray Serve.

    Raises:
        SettingsError: a name is unknown or a value impossible.
        BundleError: there is no bundle to serve.
    """
    from engine.server.ray_application import build

    settings = load_settings(**options)
    return build(settings, find_bundle(settings)[0])


@contextlib.contextmanager
def _cluster(settings: Settings) -> Iterator[None]:
    """Join the cluster, or start one; nobody joins either without its token."""
    os.environ["RAY_AUTH_MODE"] = "token"
    for name, value in _WISHED.items():
        os.environ.setdefault(name, value)
    cores = max(len(os.sched_getaffinity(0)), settings.most_replicas * (settings.threads or 1))
    with joined(settings.ray_address, cpus=cores, store_bytes=_OBJECT_STORE_BYTES):
        yield


@contextlib.contextmanager
def _deployed(settings: Settings, bundle: Path, port: int) -> Iterator[None]:
    """Deploy the application, wait until it answers, and end it as SIGTERM ends a server."""
    from engine.server.ray_application import CLOSE_S, build

    serve: Any = import_module("ray.serve")
    try:
        with contextlib.suppress(TimeoutError):  # in a minute; a busy machine may need more for its proxy
            serve.start(http_options={"host": settings.host, "port": port})
        front = serve.run(build(settings, bundle), name=NAME)
        _await_proxy(settings.host, port)
        yield
        with contextlib.suppress(TimeoutError):
            front.broadcast("drain").results(timeout_s=settings.drain_s + CLOSE_S, return_exceptions=True)
    except RuntimeError as error:
        raise ServerError(f"the application does not start on Ray: {error}; the log above says why") from error
    finally:
        serve.shutdown()


def _await_proxy(host: str, port: int) -> None:
    end = time.monotonic() + _PROXY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(_LOOK_S)
    raise ServerError(f"no proxy of Ray listens at {host} port {port} after {_PROXY_S:g} s; the log above says why")


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second SIGINT does not wait for what is under way."""
    told = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        if told.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
