"""Requests that would like to reach a file that is not theirs, or leave one behind."""

import io
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
from PIL import Image, PngImagePlugin

from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo

EDIT, TAILS, GENERATE = "/v1/images/edits", "/v1/tails", "/v1/images/generations"


class Evil:
    """Would leave a file behind if it was unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self._path, "w")


def names(secret: Path) -> list[str]:
    """For files, tails and everything else that has a name."""
    up = "../" * 12
    return [
        str(secret),
        f"{up}{secret}",
        f"file://{secret}",
        f"{up}tmp/left-behind",
        "..\\..\\left-behind",
        "left-behind\x00.png",
        f"|touch {secret.parent}/left-behind",
        f"$(touch {secret.parent}/left-behind)",
        "~/left-behind",
        "a" * 5000,
    ]


def images(secret: Path) -> Iterator[bytes]:
    """Pictures of many kinds, most of which are not taken, and some that name files."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "ICO", "EPS", "PDF", "PPM", "TGA", "PCX"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        yield buffer.getvalue()
    for key in ("Raw profile type xmp", "profile", "Software", "XML:com.adobe.xmp"):
        info = PngImagePlugin.PngInfo()
        info.add_itxt(key, f"<x href='file://{secret}'/>", zip=True)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", pnginfo=info, exif=_exif(secret))
        yield buffer.getvalue()
    yield f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/></svg>'.encode()
    yield f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><svg>&e;</svg>'.encode()
    yield f"push graphic-context\nimage over 0,0 0,0 '|touch {secret.parent}/left-behind'\npop".encode()
    yield f"%!PS\n({secret.parent}/left-behind) (w) file closefile\n".encode()
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    yield np.random.default_rng(1).bytes(3 * 2**20)  # larger than what Starlette keeps in memory by itself


def tails(secret: Path) -> Iterator[bytes]:
    """Tail files and what is none."""
    rows = np.zeros((5, 8), np.float32)
    for name in (str(secret), f"../../{secret.name}"):
        info = TailInfo(name, "0" * 64, "toy", "epsilon", 0, name, settings={name: name})
        yield serialize_tail_file(TailFile(rows, rows, info))
    whole = serialize_tail_file(TailFile(rows, rows, TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog")))
    yield whole[:100]
    yield struct.pack("<Q", 2**63) + whole[8:]
    yield whole.replace(b"a dog", b"\x00\x01\x02\x03\x04")
    yield pickle.dumps(Evil(secret.parent / "left-behind"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../left-behind", b"x")
        file.writestr("data.pkl", pickle.dumps(Evil(secret.parent / "left-behind")))
    yield archive.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil(secret.parent / "left-behind")], dtype=object), allow_pickle=True)
    yield buffer.getvalue()


def send_all(url: str, secret: Path) -> Iterator[bytes]:
    """Send everything, and return what the server said to each."""
    with httpx.Client(base_url=url, timeout=120) as client:
        yield from _uploads(client, secret)
        for name in names(secret):
            yield from _names(client, name)
    for path in (f"/page/{'../' * 9}{secret}", f"//{secret}", f"/page//{secret}", f"/page/..%5c..%5c{secret.name}"):
        yield _raw(url, path)


def _uploads(client: httpx.Client, secret: Path) -> Iterator[bytes]:
    fields = {"prompt": "a dog", "num_inference_steps": "2"}
    some = names(secret)
    for number, data in enumerate(images(secret)):
        file = (some[number % len(some)].replace("\x00", ""), data)
        yield client.post(EDIT, data=fields, files={"image": file}).content
        yield client.post("/v1/fits", data={"prompt": "a dog"}, files={"image": file}).content
    for number, data in enumerate(tails(secret)):
        file = (some[number % len(some)].replace("\x00", ""), data)
        yield client.post(TAILS, files={"file": file}).content
        yield client.post(EDIT, data=fields, files={"tail_file": file}).content
    for row in client.get(TAILS).json()["data"]:
        yield client.get(row["content"]).content
        yield client.delete(f"{TAILS}/{row['id']}").content


def _names(client: httpx.Client, name: str) -> Iterator[bytes]:
    whole = next(tails(Path("/nowhere")))
    yield client.post(TAILS, data={"name": name}, files={"file": ("x", whole)}).content
    yield client.post(GENERATE, json={"prompt": name[:500], "num_inference_steps": 2}).content
    yield client.post(GENERATE, json={"prompt": "a dog", "model": f"hiper:{name[:100]}"}).content
    yield client.post(GENERATE, json={"prompt": "a dog", "tail": name[:64]}).content
    yield client.post(EDIT, data={"prompt": "a dog", "tail": name[:64]}).content
    escaped = quote(name[:1000], safe="")
    for path in (f"/v1/tails/{escaped}/content", f"/v1/tails/{escaped}/image", f"/page/{escaped}", f"/{escaped}"):
        yield client.get(path).content
    for path in (f"/v1/fits/{escaped}/image", f"/v1/fits/{escaped}/previews/1", f"/v1/models/{escaped}"):
        yield client.get(path).content
    yield client.delete(f"/v1/tails/{escaped}").content
    yield client.get("/v1/requests/x", headers={"x-request-id": escaped[:64]}).content


def _raw(url: str, path: str) -> bytes:
    """Without a client that would tidy up the path."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def _exif(secret: Path) -> Image.Exif:
    exif = Image.Exif()
    for tag in (0x010D, 0x010E, 0x0131):  # document name, description, software
        exif[tag] = str(secret)
    return exif


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
