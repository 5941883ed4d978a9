"""Fits that last a few seconds, and what must have become of each in the end."""

import io
import uuid
from typing import Any

import httpx
import numpy as np
from PIL import Image

from engine.server.folder_store import FolderStore
from engine.tail_file import parse_tail_file
from hiper.tail import Tail
from tests.server.promises.deployment import Deployment, Follower

PROMPT, STEPS = "a dog", 450


def picture(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


def fit_form(seed: int, **fields: Any) -> dict[str, Any]:
    """The same fit as `whole_fit`; the paper's recipe takes all its steps."""
    form = {"prompt": PROMPT, "preset": "paper", "steps": STEPS, "seed": seed, **fields}
    return {"data": form, "files": {"image": ("../../dog.png", PICTURE)}}


def submit(deployment: Deployment, seed: int = 0, **fields: Any) -> Follower:
    """Ask until it is acknowledged, with a key that makes it one fit however often it takes."""
    headers = {"idempotency-key": uuid.uuid4().hex}
    answer = deployment.ask("POST", "/v1/fits", headers=headers, **fit_form(seed, **fields))
    assert answer.status_code == 202, answer.text
    return Follower(deployment, answer.json()["id"])


def check_results(deployment: Deployment, fits: dict[str, Tail]) -> None:
    """Each fit has ended once, in the tail that it would have had without any trouble, and nothing is damaged."""
    tails = pages(deployment, "/v1/tails")
    for fit_id, expected in fits.items():
        fit = deployment.ask("GET", f"/v1/fits/{fit_id}").json()
        assert (fit["status"], fit["error"]) == ("succeeded", None)
        assert [tail["id"] for tail in tails if tail["fit"] == fit_id] == [fit["tail"]]
        found = parse_tail_file(deployment.ask("GET", f"/v1/tails/{fit['tail']}/content").content)
        assert found.digest == expected.digest
        assert (found.info.step, found.info.loss_trace) == (expected.info.step, expected.info.loss_trace)
    assert FolderStore.check(deployment.data_dir) == []


def pages(deployment: Deployment, path: str) -> list[dict[str, Any]]:
    """A list, read to its end."""
    items: list[dict[str, Any]] = []
    more = True
    while more:
        after = {"after": items[-1]["id"]} if items else {}
        answer: httpx.Response = deployment.ask("GET", path, params=after)
        items += answer.json()["data"]
        more = answer.json()["has_more"]
    return items
