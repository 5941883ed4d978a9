"""A server as many would write it: FastAPI, one route, and a pipeline behind a lock, or batches of whole requests.

It reads a request and writes a picture with the code that hiper-serve does it with.

python -m benchmarks.servers.rival NAME MODEL BUNDLE RUNTIME PRECISION
prints its address when it can answer.
"""

import asyncio
import base64
import socket
import sys
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from benchmarks.batching import RequestBatcher
from engine.bundle import open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
from engine.runtimes import Precision, RuntimeOptions
from engine.server.encode_image import encode_image
from engine.server.messages import Pixels
from engine.tail_file import parse_tail_file

BATCHER = "whole-requests"
PIPELINES = {"diffusers": "fp32", "diffusers-bf16": "bf16"}

Picture = NDArray[np.uint8]


class Painter(Protocol):
    """What makes the pictures."""

    async def paint(self, request: EditRequest) -> Picture:
        """Make one, (H, W, 3)."""

    def close(self) -> None:
        """Make no more."""


class Wish(BaseModel):
    """The part of hiper-serve's request that the comparison needs."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    tail_file: str
    seed: int
    num_inference_steps: int
    guidance_scale: float

    def request(self) -> EditRequest:
        """The edit that is wished."""
        return EditRequest(
            self.prompt,
            parse_tail_file(base64.b64decode(self.tail_file)),
            seed=self.seed,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
        )


class WholeRequests:
    """The engine, with whatever waits run together to its end."""

    def __init__(self, bundle: Path, runtime: str, precision: Precision) -> None:
        editor = Editor(open_bundle(bundle, runtime, RuntimeOptions(precision)))
        editor.warm_up()
        self._batcher = RequestBatcher(editor, editor.max_rows // 2)

    async def paint(self, request: EditRequest) -> Picture:
        """Wait for the batch that has it."""
        return (await asyncio.wrap_future(self._batcher.submit(request))).image

    def close(self) -> None:
        """End its thread."""
        self._batcher.close()


def create_app(painter: Painter) -> FastAPI:
    """The app."""
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/images/generations")
    async def generate(wish: Wish) -> dict[str, Any]:
        picture = await painter.paint(wish.request())
        return {"data": [{"b64_json": await asyncio.to_thread(_file, picture, wish.seed), "seed": wish.seed}]}

    return app


def open_painter(name: str, model: str, bundle: Path, runtime: str, precision: str) -> Painter:
    """Load what a rival needs; one without PyTorch loads none."""
    if name == BATCHER:
        return WholeRequests(bundle, runtime, cast(Precision, precision))
    from benchmarks.servers.locked_pipeline import LockedPipeline

    return LockedPipeline(model, PIPELINES[name])


def main(name: str, model: str, bundle: str, runtime: str, precision: str) -> None:
    """Serve until SIGTERM."""
    painter = open_painter(name, model, Path(bundle), runtime, precision)
    # The protocol is named since asyncio turns Nagle's algorithm off only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(create_app(painter), log_level="warning")).run([listener])
    painter.close()


def _file(picture: Picture, seed: int) -> str:
    height, width, _ = picture.shape
    return base64.b64encode(encode_image(Pixels(height, width, picture.tobytes()), "png", seed=seed)).decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
