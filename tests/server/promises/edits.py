"""Clients that ask for pictures in every way, and how each of their requests ended."""

import base64
import json
import random
import socket
import struct
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from tests.server.promises.client import CLIENT

GENERATE = "/v1/images/generations"

# What an accepted edit may end in beside a picture, by status: an error that says when to ask again, or a cancel.
ENDS = {409: {"edit_cancelled"}, 503: {"busy", "deadline_missed", "engine_unavailable", "draining"}}


@dataclass(frozen=True)
class Ended:
    """A request that has ended.

    Attributes:
        what: "image", or the code of the error; "gone" if the client left, "broken" if the connection did.
        seconds: that it took.
        images: files, by their seed.
    """

    id: str
    what: str
    seconds: float
    images: dict[int, bytes]


def wish(random: random.Random, **changes: Any) -> dict[str, Any]:
    """Some edit of a toy bundle, which knows the words a, dog and cat."""
    return {
        "prompt": random.choice(["a dog", "a cat", "a cat a dog a dog"]),
        "seed": random.randrange(1000),
        "n": random.randint(1, 4),
        "num_inference_steps": random.randint(1, 50),
        "guidance_scale": random.choice([1.0, 3.0, 7.5]),
        "solver": random.choice(["ddim", "dpmpp_2m", "euler"]),
        "stream": random.random() < 0.5,
        **changes,
    }


def ask(url: str, body: dict[str, Any], timeout_s: float, id: str = "") -> Ended:
    """Ask for pictures and wait for the end, whatever it is."""
    id, start = id or uuid.uuid4().hex, time.monotonic()
    images: dict[int, bytes] = {}
    try:
        answer = CLIENT.post(url + GENERATE, json=body, headers={"x-request-id": id}, timeout=timeout_s)
        what = _read_stream(answer, images) if body.get("stream") else _read(answer, images)
    except httpx.TimeoutException:
        what = "stuck"
    except httpx.TransportError:
        what = "broken"
    if what == "image":
        assert sorted(images) == [body["seed"] + number for number in range(body.get("n", 1))]
    return Ended(id, what, time.monotonic() - start, images)


def status(url: str, id: str) -> str | None:
    """What the server says of a request; None if it does not know it."""
    answer = CLIENT.get(f"{url}/v1/requests/{id}")
    return str(answer.json()["status"]) if answer.status_code == 200 else None


def leave(url: str, body: dict[str, Any], after_s: float, abruptly: bool) -> Ended:
    """Ask for pictures, and go away without a word."""
    id, start = uuid.uuid4().hex, time.monotonic()
    host, port = url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: {host}:{port}\r\nX-Request-Id: {id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + data)
        time.sleep(after_s)
        if abruptly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return Ended(id, "gone", time.monotonic() - start, {})


def _read(answer: httpx.Response, images: dict[int, bytes]) -> str:
    body = answer.json()
    if answer.status_code != 200:
        return _code(answer, body)
    for image in body["data"]:
        images[image["seed"]] = base64.b64decode(image["b64_json"])
    return "image"


def _read_stream(answer: httpx.Response, images: dict[int, bytes]) -> str:
    if answer.status_code != 200:
        return _code(answer, answer.json())
    for piece in answer.text.strip().split("\n\n"):
        name, _, data = piece.partition("\ndata: ")
        if name == "event: error":
            return str(json.loads(data)["error"]["code"])
        if name.endswith(".completed"):
            body = json.loads(data)
            images[body["seed"]] = base64.b64decode(body["b64_json"])
    return "image"


def _code(answer: httpx.Response, body: Any) -> str:
    code = str(body["error"]["code"])
    if answer.status_code in ENDS:
        assert code in ENDS[answer.status_code]
        assert answer.status_code != 503 or int(answer.headers["retry-after"]) > 0
    return code
