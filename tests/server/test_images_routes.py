"""Pictures by HTTP. Oracle: Pillow, the tail's own bytes, and one way of asking against another."""

import base64
import io
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.server.edit_client import EditClient
from engine.server.services import Services
from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo

GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
QUICK = {"prompt": "a dog", "num_inference_steps": 4, "seed": 7}
TAIL = serialize_tail_file(
    TailFile(
        np.linspace(-3, 1, 40, dtype=np.float32).reshape(5, 8),
        np.zeros((5, 8), np.float32),
        TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog", tail_strength=0.7),
    )
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def files(answer: Any) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["b64_json"]) for image in answer.json()["data"]]


def error(answer: Any) -> tuple[int, str, str | None]:
    problem = answer.json()["error"]
    assert problem.keys() >= {"message", "type", "param", "code"}
    return answer.status_code, problem["code"], problem["param"]


def picture(seed: int = 0, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, image_format, **({"lossless": True} if image_format == "WEBP" else {}))
    return buffer.getvalue()


def stored_tail(services: Services, data: bytes = TAIL, image: str | None = None) -> str:
    return services.store.add_tail("local", "Rex", data, image=image).id


def test_answer_holds_pictures_and_all_that_made_them(client: TestClient) -> None:
    answer = client.post(GENERATE, json=QUICK | {"n": 2, "guidance_scale": 1.5, "negative_prompt": "a cat"})
    body = answer.json()
    pictures = [Image.open(io.BytesIO(data)) for data in files(answer)]
    assert [(one.format, one.size, one.info) for one in pictures] == [
        ("PNG", (32, 32), {"seed": "7"}),
        ("PNG", (32, 32), {"seed": "8"}),
    ]
    assert [image["seed"] for image in body["data"]] == [7, 8]
    assert body["settings"] == {
        "model": "toy",
        "seed": 7,
        "num_inference_steps": 4,
        "guidance_scale": 1.5,
        "guidance_interval": [0, 1],
        "tail_strength": 0.8,
        "negative_prompt": "a cat",
        "solver": "ddim",
    }
    assert body["id"] == answer.headers["x-request-id"]
    assert (body["size"], body["output_format"], body["background"]) == ("32x32", "png", "opaque")
    assert 0 < body["timings"]["unet_ms"] <= body["timings"]["total_ms"]


def test_every_picture_of_a_request_is_the_one_of_its_seed(client: TestClient) -> None:
    together = files(client.post(GENERATE, json=QUICK | {"n": 3}))
    assert together == [files(client.post(GENERATE, json=QUICK | {"seed": seed}))[0] for seed in (7, 8, 9)]
    assert len(set(together)) == 3


def test_seed_that_was_left_out_comes_back_and_works(client: TestClient) -> None:
    answer = client.post(GENERATE, json={"prompt": "a dog", "num_inference_steps": 2})
    seed = answer.json()["data"][0]["seed"]
    assert files(client.post(GENERATE, json={"prompt": "a dog", "num_inference_steps": 2, "seed": seed})) == files(
        answer
    )


@pytest.mark.parametrize(("image_format", "options"), [("jpeg", {}), ("webp", {"output_compression": 30})])
def test_other_formats(client: TestClient, image_format: str, options: dict[str, int]) -> None:
    answer = client.post(GENERATE, json=QUICK | {"output_format": image_format} | options)
    assert Image.open(io.BytesIO(files(answer)[0])).format == image_format.upper()
    assert answer.json()["output_format"] == image_format


def test_tail_is_the_same_in_every_way_of_naming_it(client: TestClient, services: Services) -> None:
    id = stored_tail(services)
    ways = [
        client.post(GENERATE, json=QUICK | {"model": f"hiper:{id}"}),
        client.post(GENERATE, json=QUICK | {"tail": id, "model": "hiper"}),
        client.post(GENERATE, json=QUICK | {"tail_file": b64(TAIL)}),
        client.post(EDIT, data=QUICK | {"tail": id}, files={"image": picture()}),
        client.post(EDIT, data=QUICK | {"model": f"hiper:{id}"}, files={"image": b"not looked at"}),
        client.post(EDIT, data=QUICK, files={"tail_file": TAIL}),
    ]
    assert len({files(way)[0] for way in ways}) == 1
    assert files(ways[0]) != files(client.post(GENERATE, json=QUICK))
    assert [way.json()["settings"].get("tail") for way in ways] == [id, id, None, id, id, None]
    assert {way.json()["settings"]["tail_strength"] for way in ways} == {0.7}


def test_inline_tail_leaves_nothing_behind(client: TestClient) -> None:
    files(client.post(GENERATE, json=QUICK | {"tail_file": b64(TAIL)}))
    assert client.get("/v1/tails").json()["data"] == []


def test_picture_finds_the_tail_that_was_fitted_to_it(client: TestClient, services: Services) -> None:
    upload = client.portal.call(services.uploads.decode, picture())  # type: ignore[union-attr]
    stored_tail(services, image=services.store.put_image(upload.png))
    newest = stored_tail(services, image=upload.sha256)
    for image_format in ("PNG", "WEBP"):
        answer = client.post(EDIT, data=QUICK, files={"image": picture(image_format=image_format)})
        assert answer.json()["settings"]["tail"] == newest
    assert files(answer) == files(client.post(GENERATE, json=QUICK | {"tail": newest}))


def test_picture_without_tail_is_told_how_to_get_one(client: TestClient) -> None:
    answer = client.post(EDIT, data=QUICK, files={"image[]": picture(1)})
    assert error(answer) == (409, "tail_not_fitted", "image")
    assert answer.json()["error"]["fit"] == {"method": "POST", "url": "/v1/fits", "fields": ["image", "prompt"]}
    assert answer.headers["x-should-retry"] == "false"


def test_picture_of_a_caller_without_edits_is_not_looked_at(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    decode = services.uploads.decode

    async def watched(data: bytes) -> Any:
        looked.append(data)
        return await decode(data)

    monkeypatch.setattr(services.uploads, "decode", watched)
    key, token = services.store.add_key("alice", edits_per_minute=3)
    mine = {"authorization": f"Bearer {token}"}
    upload = client.portal.call(services.uploads.decode, picture())  # type: ignore[union-attr]
    services.store.add_tail(key.id, "Rex", TAIL, image=services.store.put_image(upload.png))

    def ask(seed: int, n: int = 1) -> Any:
        return error(client.post(EDIT, data=QUICK | {"n": n}, files={"image": picture(seed)}, headers=mine))[:2]

    looked.clear()
    assert ask(1, n=4) == (400, "beyond_quota") and not looked
    assert ask(1) == (409, "tail_not_fitted") and len(looked) == 1
    # A picture that finds its tail takes no more than its edit, and one that finds none takes as much.
    assert client.post(EDIT, data=QUICK, files={"image": picture()}, headers=mine).status_code == 200
    assert ask(1) == (409, "tail_not_fitted") and len(looked) == 3
    assert ask(1) == (429, "quota_exceeded") and len(looked) == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"prompt": "a dog", "n": 0}, (400, "validation_error", "n")),
        ({"prompt": "a dog", "hue": 1}, (400, "validation_error", "hue")),
        ({"prompt": "a dog", "response_format": "url"}, (400, "validation_error", "response_format")),
        ({"prompt": "a dog", "size": "64x64"}, (400, "validation_error", "size")),
        ({"prompt": "a dog", "num_inference_steps": 101}, (400, "validation_error", "num_inference_steps")),
        ({"prompt": "a dog " * 60}, (400, "prompt_invalid", "prompt")),
        ({"prompt": "a dog", "tail_file": "AAAA"}, (400, "tail_invalid", "tail")),
        ({"prompt": "a dog", "tail": "tail_x"}, (404, "tail_not_found", "tail")),
        ({"prompt": "a dog", "model": "hiper:tail_x"}, (404, "tail_not_found", "model")),
        ({"prompt": "a dog", "model": "gpt-image-1"}, (404, "model_not_found", "model")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_have_a_status_even_before_a_stream(
    client: TestClient, body: dict[str, Any], expected: tuple[int, str, str], stream: bool
) -> None:
    answer = client.post(GENERATE, json=body | {"stream": stream})
    assert error(answer) == expected
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("parts", "words", "param"),
    [
        ({"files": {"prompt": (None, "a dog")}}, "no image and no tail", "image"),
        ({"data": {"prompt": "a dog"}, "files": {"image": b"GIF89a"}}, "no picture of a known kind", "image"),
        ({"data": {"prompt": "a dog", "n": "many"}, "files": {"image": b""}}, "n: Input should be", "n"),
        ({"data": {"prompt": ["a", "b"]}, "files": {"image": b""}}, "prompt: Input should be", "prompt"),
        ({"data": {"prompt": "a dog"}, "files": {"image": b"", "mask": b""}}, "mask is not supported", "mask"),
        ({"data": {"prompt": "a dog"}, "files": {"image": b"", "x": b""}}, "only image and tail_file are", "x"),
        ({"files": [("image[]", b"1"), ("image[]", b"2")]}, "more than once", "image"),
        ({"data": {"prompt": "a dog", "image": "cat.png"}, "files": {"tail_file": b""}}, "as a text", "image"),
    ],
)
def test_forms_that_are_refused(client: TestClient, parts: dict[str, Any], words: str, param: str) -> None:
    answer = client.post(EDIT, **parts)
    assert answer.status_code in (400, 415)
    assert re.search(words, answer.json()["error"]["message"])
    assert answer.json()["error"]["param"] == param


def test_body_that_is_no_form_is_refused(client: TestClient) -> None:
    assert error(client.post(EDIT, json={"prompt": "a dog"}))[:2] == (415, "unsupported_media_type")


def test_without_an_engine_the_answer_is_later(client: TestClient, edits: EditClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(edits, "ready", None)
    answer = client.post(GENERATE, json=QUICK)
    assert error(answer)[:2] == (503, "engine_unavailable")
    assert answer.headers["retry-after"] and "x-should-retry" not in answer.headers


def test_full_or_ending_server_says_so(client: TestClient, services: Services, monkeypatch: Any) -> None:
    monkeypatch.setattr(type(services.edits), "depth", property(lambda edits: services.settings.max_edits - 1))
    assert client.post(GENERATE, json=QUICK).status_code == 200
    answer = client.post(GENERATE, json=QUICK | {"n": 2})
    assert error(answer)[:2] == (503, "busy") and answer.headers["retry-after"] == "1"
    services.draining = True
    assert error(client.post(GENERATE, json=QUICK))[:2] == (503, "draining")


def events(answer: Any) -> list[tuple[str, dict[str, Any]]]:
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block]
    assert all(len(block) == 2 for block in blocks)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_stream_shows_pictures_on_their_way(client: TestClient) -> None:
    body = QUICK | {"n": 2, "stream": True, "partial_images": 3}
    told = events(client.post(GENERATE, json=body))
    assert all(name == data["type"] for name, data in told)
    for index in range(2):
        partial = [data for name, data in told if name.endswith("partial_image") and data["image_index"] == index]
        assert [data["partial_image_index"] for data in partial] == [0, 1, 2]
        assert [data["step"] for data in partial] == [1, 2, 3] and {data["steps"] for data in partial} == {4}
        shown = [Image.open(io.BytesIO(base64.b64decode(data["b64_json"]))) for data in partial]
        assert {(one.format, one.size) for one in shown} == {("JPEG", (32, 32))}
        assert {data["output_format"] for data in partial} == {"jpeg"}
    final = {data["image_index"]: data for name, data in told if name == "image_generation.completed"}
    plain = client.post(GENERATE, json=QUICK | {"n": 2}).json()
    assert [final[index]["b64_json"] for index in range(2)] == [image["b64_json"] for image in plain["data"]]
    assert final[1]["settings"] == plain["settings"] and final[1]["usage"]["total_tokens"] == 0
    assert told[-1][0] == "image_generation.completed"


def test_stream_of_an_edit_has_its_own_names(client: TestClient, services: Services) -> None:
    form = QUICK | {"tail": stored_tail(services), "stream": "true", "partial_images": 1, "output_format": "png"}
    told = events(client.post(EDIT, data=form, files={"image": picture()}))
    assert [name for name, _ in told] == ["image_edit.partial_image", "image_edit.completed"]
    assert told[0][1]["output_format"] == "png"


def test_request_is_watched_and_remembered(client: TestClient) -> None:
    files(client.post(GENERATE, json=QUICK | {"n": 2}, headers={"x-request-id": "mine.1"}))
    seen = client.get("/v1/requests/mine.1").json()
    assert (seen["id"], seen["status"], seen["step"], seen["steps"]) == ("mine.1", "succeeded", 8, 8)
    assert [(edit["seed"], edit["status"], edit["step"]) for edit in seen["edits"]] == [
        (7, "succeeded", 4),
        (8, "succeeded", 4),
    ]
    assert seen["error"] is None and seen["created_at"] <= seen["finished_at"]
    assert client.post("/v1/requests/mine.1/cancel").json() == seen


def test_failed_request_says_why(client: TestClient) -> None:
    client.post(GENERATE, json={"prompt": "a dog " * 60}, headers={"x-request-id": "bad"})
    seen = client.get("/v1/requests/bad").json()
    assert (seen["status"], seen["error"]["code"]) == ("failed", "prompt_invalid")


@pytest.mark.parametrize(
    "call", [lambda client: client.get("/v1/requests/x"), lambda client: client.post("/v1/requests/x/cancel")]
)
def test_unknown_request_is_not_found(client: TestClient, call: Callable[[TestClient], Any]) -> None:
    answer = call(client)
    assert (answer.status_code, answer.json()["code"]) == (404, "request_not_found")


def test_same_request_alone_and_in_a_crowd_gives_the_same_bytes(client: TestClient) -> None:
    """Promise 7, in a batch that others join and leave, with other steps, guidance, solvers and tails."""
    mine = QUICK | {"num_inference_steps": 25, "solver": "dpmpp_2m"}
    alone = files(client.post(GENERATE, json=mine))
    stop = threading.Event()

    def crowd(number: int) -> int:
        count = 0
        while not stop.is_set():
            tail = {"tail_file": b64(TAIL)} if number % 2 else {}
            body = {"prompt": "a cat", "n": 1 + number, "num_inference_steps": 3 + count % 7, "guidance_scale": number}
            assert client.post(GENERATE, json=body | tail).status_code == 200
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(crowd, number) for number in range(3)]
        try:
            for _ in range(5):
                assert files(client.post(GENERATE, json=mine)) == alone
        finally:
            stop.set()
        assert all(other.result() > 0 for other in others)
