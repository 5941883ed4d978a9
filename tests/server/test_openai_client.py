"""The stock `openai` client, as it is, against `hiper-serve`."""

import asyncio
import base64
import io
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from anyio.from_thread import BlockingPortal
from openai import AsyncOpenAI, OpenAI
from PIL import Image

from engine.server.edit_client import EditClient
from engine.server.edit_requests import EditRequests
from engine.server.folder_store import FolderStore
from engine.server.services import Services
from tests.server.conftest import StartServer, wait_until
from tests.server.serving import assembled, serving
from tests.server.test_images_routes import TAIL, picture
from tests.server.test_unfinished_edits import SlowEngine

QUICK = {"num_inference_steps": 4, "seed": 7}


@pytest.fixture(scope="module")
def services(
    bundle: Path, edits: EditClient, portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    with assembled(tmp_path_factory.mktemp("openai"), bundle, edits, portal) as services:
        yield services


@pytest.fixture(scope="module")
def url(services: Services, portal: BlockingPortal) -> Iterator[str]:
    with serving(services, portal) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2) as client:
        yield client


@pytest.fixture(scope="module")
def tail(services: Services) -> str:
    return services.store.add_tail("local", "Rex", TAIL).id


def opened(b64_json: str | None) -> Image.Image:
    assert b64_json is not None
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def asked(services: Services) -> float:
    """How many requests for pictures were answered so far."""
    samples = services.metrics.requests.collect()[0].samples
    return sum(one.value for one in samples if one.name.endswith("_total") and "/images/" in one.labels["route"])


def test_generate(client: OpenAI, tail: str) -> None:
    answer = client.images.generate(prompt="a dog", model=f"hiper:{tail}", n=2, size="32x32", extra_body=QUICK)
    assert answer.data is not None and answer.usage is not None
    assert [opened(image.b64_json).size for image in answer.data] == [(32, 32)] * 2
    assert (answer.output_format, answer.background, answer.quality, answer.size) == ("png", "opaque", "high", "32x32")
    assert answer.usage.total_tokens == 0
    again = client.images.generate(prompt="a dog", extra_body=QUICK | {"tail": tail, "guidance_interval": [0, 1]})
    assert again.data is not None and again.data[0].b64_json == answer.data[0].b64_json


def test_the_example_of_the_readme(url: str, tail: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [example] = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "import OpenAI" in code]
    example = example.replace("http://127.0.0.1:8910", url).replace("tail_…", tail)
    exec(example, shown := dict[str, Any]())
    shown["client"].close()
    assert opened(shown["answer"].data[0].b64_json).size == (32, 32)


def test_everything_the_client_can_send_that_means_something(client: OpenAI) -> None:
    client.images.generate(
        prompt="a dog",
        background="opaque",
        model=None,
        moderation="low",
        n=1,
        output_compression=80,
        output_format="webp",
        partial_images=None,
        quality="medium",
        response_format="b64_json",
        size="auto",
        stream=False,
        style="vivid",
        user="ann",
        extra_body=QUICK,
    )


def test_edit(client: OpenAI, services: Services, tail: str) -> None:
    by_tail = client.images.edit(image=picture(), prompt="a dog", model=f"hiper:{tail}", extra_body=QUICK)
    inline = client.images.edit(
        image=("dog.png", picture()), prompt="a dog", input_fidelity="high", extra_body=QUICK | {"tail": tail}
    )
    assert by_tail.data is not None and inline.data is not None
    assert by_tail.data[0].b64_json == inline.data[0].b64_json
    one_of_a_list = client.images.edit(
        image=[picture()],
        prompt="a dog",
        model=f"hiper:{tail}",
        extra_body=QUICK | {"guidance_interval": [0.0, 1.0]},
    )
    assert one_of_a_list.data is not None and one_of_a_list.data[0].b64_json == by_tail.data[0].b64_json


def test_generate_in_a_stream(client: OpenAI) -> None:
    stream = client.images.generate(prompt="a dog", stream=True, partial_images=2, extra_body=QUICK)
    told = list(stream)
    assert [event.type for event in told] == [
        *["image_generation.partial_image"] * 2,
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in told if event.type.endswith("partial_image")] == [0, 1]
    final = told[-1]
    assert final.type == "image_generation.completed" and final.usage.total_tokens == 0
    plain = client.images.generate(prompt="a dog", extra_body=QUICK)
    assert plain.data is not None and plain.data[0].b64_json == final.b64_json
    assert opened(told[0].b64_json).format == "JPEG"


def test_edit_in_a_stream(client: OpenAI, tail: str) -> None:
    with client.images.edit(
        image=picture(), prompt="a dog", stream=True, partial_images=1, model=f"hiper:{tail}", extra_body=QUICK
    ) as stream:
        assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


def test_async_client(url: str, tail: str) -> None:
    async def ask() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            same = [
                client.images.generate(prompt="a dog", extra_body=QUICK | {"tail": tail}),
                client.images.edit(image=picture(), prompt="a dog", extra_body=QUICK | {"tail": tail}),
            ]
            stream = await client.images.generate(prompt="a dog", stream=True, extra_body=QUICK | {"tail": tail})
            told = [event async for event in stream]
            return [answer.data[0].b64_json for answer in await asyncio.gather(*same)] + [told[-1].b64_json]

    assert len(set(asyncio.run(ask()))) == 1


def test_models(client: OpenAI, tail: str) -> None:
    assert {"toy", f"hiper:{tail}"} <= {model.id for model in client.models.list()}


def test_bad_request_is_asked_once(client: OpenAI, services: Services) -> None:
    before = asked(services)
    with pytest.raises(openai.BadRequestError, match="mask is not supported") as caught:
        client.images.edit(image=picture(), prompt="a dog", mask=picture())
    assert (caught.value.code, caught.value.param, caught.value.type) == (
        "validation_error",
        "mask",
        "invalid_request_error",
    )
    with pytest.raises(openai.BadRequestError):
        client.images.generate(prompt="a dog", size="1024x1024")
    with pytest.raises(openai.BadRequestError, match="frame_count"):
        client.images.generate(prompt="a dog", frame_count=3)
    wait_until(lambda: asked(services) == before + 3)


def test_unknown_tail_and_model_are_not_found(client: OpenAI) -> None:
    for model, code in (("hiper:tail_x", "tail_not_found"), ("gpt-image-1", "model_not_found")):
        with pytest.raises(openai.NotFoundError) as caught:
            client.images.generate(prompt="a dog", model=model)
        assert caught.value.code == code


def test_conflict_is_not_retried_though_the_client_would(client: OpenAI, services: Services) -> None:
    before = asked(services)
    with pytest.raises(openai.ConflictError, match="POST it to /v1/fits"):
        client.images.edit(image=picture(5), prompt="a dog")
    wait_until(lambda: asked(services) == before + 1)


def test_full_server_is_asked_again(client: OpenAI, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    before, depths = asked(services), iter([services.settings.max_edits, 0])
    monkeypatch.setattr(type(services.edits), "depth", property(lambda edits: next(depths)))
    assert client.images.generate(prompt="a dog", extra_body=QUICK).data
    wait_until(lambda: asked(services) == before + 2)


def test_error_in_a_stream_is_raised(client: OpenAI, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SlowEngine()
    monkeypatch.setattr(services, "requests", EditRequests(engine, services.metrics))
    stream = client.images.generate(
        prompt="a dog", stream=True, partial_images=1, extra_headers={"x-request-id": "mine"}
    )
    assert next(iter(stream)).type == "image_generation.partial_image"
    client.post("/requests/mine/cancel", cast_to=object)
    with pytest.raises(openai.APIError, match="as it was asked to be") as caught:
        list(stream)
    assert caught.value.code == "edit_cancelled"


def test_keys(start_server: StartServer, tmp_path: Path) -> None:
    """By `hiper-serve` itself, in its own process."""
    with closing(FolderStore(tmp_path / "data")) as store:
        _, token = store.add_key("ann", max_edits=2, edits_per_minute=3)
        _, other = store.add_key("bob", scopes=("tails",))
    url = start_server().url + "/v1"
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=url, api_key="hiper_wrong").images.generate(prompt="a dog")
    with pytest.raises(openai.PermissionDeniedError):
        OpenAI(base_url=url, api_key=other).images.generate(prompt="a dog")
    client = OpenAI(base_url=url, api_key=token, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="the key allows 2 edits at once") as refused:
        client.images.generate(prompt="a dog", n=3)
    assert refused.value.code == "beyond_quota" and refused.value.response.headers["x-should-retry"] == "false"
    client.images.generate(prompt="a dog", n=2, extra_body=QUICK)
    with pytest.raises(openai.RateLimitError, match="3 a minute") as caught:
        client.images.generate(prompt="a dog", n=2)
    assert caught.value.code == "quota_exceeded" and 0 < int(caught.value.response.headers["retry-after"]) <= 60
