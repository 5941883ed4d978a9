"""The page: one document and the styles, scripts and pictures it names, all from this server."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from fastapi import APIRouter, Request, Response

from engine.server.errors import ApiError

router = APIRouter(include_in_schema=False)

# Not by `mimetypes`, which asks the machine, and some answer that a script is plain text.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page; its tag changes with its content."""

    content: bytes
    media_type: str
    etag: str


@router.get("/")
async def index(request: Request) -> Response:
    """The document."""
    return _answer(request, "index.html")


@router.get("/page/{path:path}")
async def page_file(request: Request, path: str) -> Response:
    """What the document names."""
    return _answer(request, path)


@cache
def page_files() -> dict[str, PageFile]:
    """All files of the page by their path; nothing else is ever served, whatever a path says."""
    return dict(_read(files("engine.server").joinpath("page"), PurePosixPath()))


def _read(folder: Traversable, place: PurePosixPath) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        path = place / entry.name
        if entry.is_dir():
            yield from _read(entry, path)
        elif path.suffix in _MEDIA_TYPES:
            content = entry.read_bytes()
            yield str(path), PageFile(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()}"')


def _answer(request: Request, path: str) -> Response:
    """A browser asks each time (`no-cache`) and is told that it has the file already, so an update shows at once."""
    file = page_files().get(path)
    if file is None:
        raise ApiError(404, "not_found", f"the page has no file {path[:80]!r}")
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
