"""One error, two renderings. Oracle: RFC 9457 and what OpenAI's clients read; the layers around every request."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest
from anyio.from_thread import BlockingPortal
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from engine.errors import PromptError, TailError
from engine.server.access import Access
from engine.server.body_limit import MAX_JSON_BYTES, BodyLimit
from engine.server.caller import Caller
from engine.server.edit_client import EngineDown
from engine.server.errors import ApiError, error_response
from engine.server.messages import FitSettings
from engine.server.metrics import Metrics
from engine.server.problems import MAX_PROBLEMS, api_error
from engine.server.records import Key
from engine.server.request_model import MAX_FIELDS
from engine.server.services import Services
from engine.server.store_errors import DiskFull, IdempotencyMismatch, QueueFull, QuotaReached, StoreError
from engine.server.uploads import UploadError
from engine.tail_file import MAX_SIZE_BYTES
from tests.server.conftest import wait_until
from tests.server.serving import serving
from tests.server.test_images_routes import TAIL


def test_native_routes_have_problem_details() -> None:
    error = ApiError(429, "quota_exceeded", "too much", param="n", retry_after_s=1.2, extra={"limit": 8})
    response = error_response(error, "/v1/fits", "req_1")
    assert response.media_type == "application/problem+json" and response.status_code == 429
    assert response.headers["retry-after"] == "2" and "x-should-retry" not in response.headers
    assert bytes(response.body) == (
        b'{"limit":8,"type":"about:blank","title":"Too Many Requests","status":429,"detail":"too much",'
        b'"code":"quota_exceeded","request_id":"req_1","param":"n"}'
    )


def test_compatible_routes_have_openais_object_and_400_for_422() -> None:
    response = error_response(ApiError(422, "prompt_invalid", "empty", param="prompt"), "/v1/images/edits", "req_1")
    assert response.status_code == 400 and response.headers["x-should-retry"] == "false"
    assert bytes(response.body) == (
        b'{"error":{"message":"empty","type":"invalid_request_error","param":"prompt","code":"prompt_invalid"}}'
    )


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (429, "rate_limit_error"), (503, "server_error")]
)
def test_openais_types(status: int, kind: str) -> None:
    body = error_response(ApiError(status, "x", "y"), "/v1/models", "").body
    assert f'"type":"{kind}"'.encode() in bytes(body)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PromptError("x"), 422, "prompt_invalid"),
        (TailError("x"), 422, "tail_invalid"),
        (UploadError("too_large", "x"), 413, "too_large"),
        (UploadError("unsupported_media_type", "x"), 415, "unsupported_media_type"),
        (UploadError("image_invalid", "x"), 422, "image_invalid"),
        (IdempotencyMismatch("x"), 422, "idempotency_mismatch"),
        (QuotaReached(2), 429, "quota_exceeded"),
        (QueueFull(2), 503, "busy"),
        (DiskFull("x"), 507, "disk_full"),
        (StoreError("x"), 503, "store_unavailable"),
        (EngineDown("x"), 503, "engine_unavailable"),
        (KeyError("x"), 503, "internal"),
    ],
)
def test_every_exception_has_its_answer(error: Exception, status: int, code: str) -> None:
    found = api_error(error)
    assert (found.status, found.code) == (status, code)
    assert (found.retry_after_s is not None) == (status in (429, 503, 507) and code != "internal")


@pytest.fixture
def broken(client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    def tails(owner: str, **options: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(services.store, "tails", tails)
    yield client


def test_a_mistake_of_ours_is_logged_with_the_requests_id_and_told_without_its_words(
    broken: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = broken.get("/v1/tails", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (503, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    assert "secret" not in answer.text and "a secret" in caplog.text


@pytest.mark.parametrize("kind", [StoreError, DiskFull])
def test_what_the_disk_says_is_for_the_log(kind: type[StoreError], caplog: pytest.LogCaptureFixture) -> None:
    assert "/srv/data" not in str(api_error(kind("/srv/data is broken")))
    assert "/srv/data is broken" in caplog.text


def test_ids_are_the_clients_if_they_are_ids(client: TestClient) -> None:
    for wanted in ("abc", "A-1_b.c", "x" * 64):
        assert client.get("/livez", headers={"x-request-id": wanted}).headers["x-request-id"] == wanted
    for wanted in ("", "a b", "x" * 65, "ä", "a;b"):
        found = client.get("/livez", headers={"x-request-id": wanted.encode()}).headers["x-request-id"]
        assert found.startswith("req_") and len(found) == 24


def test_an_id_that_somebody_else_has_now_is_free_all_the_same() -> None:
    names: list[str] = []

    async def answers(scope: Scope, receive: Receive, send: Send) -> None:
        names.append(scope["state"]["request_id"])
        if len(names) < 4:
            await ask([b"Bearer a", b"bearer  a", b"Bearer b"][len(names) - 1])

    access = Access(answers, Metrics(), log=False)

    async def ask(key: bytes) -> None:
        headers = [(b"x-request-id", b"mine"), (b"authorization", key)]
        await access({"type": "http", "path": "/", "headers": headers}, None, None)  # type: ignore[arg-type]

    anyio.run(ask, b"Bearer a")
    assert names[0] == names[3] == "mine" and all(name.startswith("req_") for name in names[1:3])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("PUT", "/v1/tails", 405, "method_not_allowed")],
)
def test_what_is_not_there_is_a_problem_too(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_refused_method_names_those_there_are(client: TestClient) -> None:
    assert client.put("/v1/tails").headers["allow"] == "GET, HEAD, POST"
    assert client.put("/").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/livez", "/v1/tails", "/v1/info", "/openapi.json", "/nothing", "/v1/tails/x"])
def test_head_is_get_without_a_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    ours = {"x-request-id", "content-length"}
    assert head.status_code == get.status_code and head.content == b""
    assert {*head.headers.items()} - {*get.headers.items()} <= {(name, head.headers[name]) for name in ours}


def test_head_of_a_stream_ends(services: Services, portal: BlockingPortal) -> None:
    picture = services.store.put_image(b"picture")
    fit, _ = services.store.submit_fit("local", "Rex", FitSettings(prompt="a dog"), picture, max_active=1, max_queued=1)
    with serving(services, portal) as url, httpx.Client() as client:
        for _ in range(2):
            answer = client.head(f"{url}/v1/fits/{fit.id}/events")
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        wait_until(lambda: not services.limits._streams)


def test_broken_json_is_400_where_openai_reads(client: TestClient) -> None:
    answer = client.post("/v1/images/generations", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/v1/tails", "/v1/images/generations", "/nothing"])
def test_too_large_a_body_is_refused_declared_or_not(
    client: TestClient, services: Services, chunked: bool, path: str
) -> None:
    size = services.settings.max_body_bytes + 1
    data = b"x" * 2**20
    content = (data for _ in range(size // 2**20 + 1)) if chunked else b"x" * size
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post(path, content=content, headers=headers)
    if chunked and path == "/nothing":
        assert answer.status_code == 404  # nobody reads it
        return
    body = answer.json()
    assert answer.status_code == 413
    assert body.get("error", body)["code"] == "too_large" and answer.headers["x-should-retry"] == "false"


def test_every_answer_has_headers_that_bind_the_browser(client: TestClient, services: Services) -> None:
    services.store.add_key("alice")
    refused = client.get("/v1/tails"), client.post("/v1/fits", headers={"origin": "http://evil.example"})
    answers = client.get("/livez"), client.get("/nothing"), *refused, client.get("/", headers={"host": "evil.example"})
    assert [answer.status_code for answer in answers] == [200, 404, 401, 403, 421]
    for answer in answers[:-1]:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["content-security-policy"]
        assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers


def test_a_draining_server_begins_nothing_and_answers_questions(client: TestClient, services: Services) -> None:
    services.draining = True
    for path in ("/v1/tails", "/v1/fits"):
        answer = client.post(path, files={"file": b"x", "image": b"x"}, data={"prompt": "a dog"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    answer = client.post("/v1/images/generations", json={"prompt": "a dog"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert client.get("/v1/tails").status_code == 200


def test_all_bodies_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.body_limit.LARGEST_AT_ONCE", 2)
    held, answers = [], []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        while (await receive())["more_body"]:
            pass
        held.append(scope)
        if len(held) < 4:
            await ask()

    async def receive():  # type: ignore[no-untyped-def]
        return {"type": "http.request", "body": b"x" * 10, "more_body": False}

    limit = BodyLimit(app, 10)

    async def ask() -> None:
        try:
            await limit({"type": "http", "headers": []}, receive, None)  # type: ignore[arg-type]
        except ApiError as error:
            answers.append(error.code)

    anyio.run(ask)
    assert answers == ["busy"] and len(held) == 2
    held.clear()
    anyio.run(ask)
    assert answers == ["busy", "busy"]


def test_limit_of_all_bodies_spares_those_that_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.body_limit.LARGEST_AT_ONCE", 1)
    answered = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        await receive()
        limit.held_bytes += 10  # of others, who are refused
        await send({"type": "http.response.start"})

    async def receive():  # type: ignore[no-untyped-def]
        return {"type": "http.request", "body": b"x" * 10, "more_body": False}

    async def send(message):  # type: ignore[no-untyped-def]
        answered.append(message)

    limit = BodyLimit(app, 10)
    anyio.run(limit, {"type": "http", "headers": []}, receive, send)
    assert len(answered) == 1


def test_no_key_takes_all_the_room_and_what_is_small_always_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.body_limit.SMALL_BYTES", 10)
    outcomes: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await ask([*wanted.pop(0)] if wanted else [])

    async def ask(request: list[Any]) -> None:
        if not request:
            return
        owner, size = request
        key = Key(owner, owner, frozenset(), 8, 60, 2, 0.0)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * size}

        try:
            await limit({"type": "http", "headers": [], "state": {"caller": Caller(owner, key)}}, receive, send)
            outcomes.append(f"{owner} {size}")
        except ApiError as error:
            outcomes.append(f"{owner} {error.code}")

    async def send(message: Message) -> None: ...

    limit = BodyLimit(app, 1600)
    wanted = [("a", 1600)] * 4
    anyio.run(ask, ["a", 1600])
    assert outcomes == ["a quota_exceeded", *["a 1600"] * 4] and not limit.held_bytes and not limit.held_by
    outcomes.clear()
    wanted = [*[(owner, 1600) for owner in "bcda" for _ in range(4)][:-1], ("e", 10), ("e", 101)]
    anyio.run(ask, ["a", 1600])
    assert outcomes[:2] == ["e busy", "e 10"] and len(outcomes) == 18


def test_body_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.body_limit.BODY_S", 0.05)

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        while (await receive())["more_body"]:
            pass

    async def drip():  # type: ignore[no-untyped-def]
        await anyio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(ApiError, match=r"not whole after 0\.05 s") as caught:
        anyio.run(BodyLimit(app, 10**6), {"type": "http", "headers": []}, drip, None)
    assert caught.value.status == 408


def test_answer_to_a_whole_body_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.body_limit.BODY_S", 0.05)
    messages = [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}]
    seen = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        seen.extend([(await receive())["type"], (await receive())["type"]])

    async def receive():  # type: ignore[no-untyped-def]
        await anyio.sleep(0 if len(messages) == 2 else 0.1)
        return messages.pop(0)

    anyio.run(BodyLimit(app, 10), {"type": "http", "headers": []}, receive, None)
    assert seen == ["http.request", "http.disconnect"]


def test_many_unknown_fields_stop_nobody_and_are_told_in_few_words(services: Services, portal: BlockingPortal) -> None:
    unknown = json.dumps({"prompt": "a dog", **dict.fromkeys(map("k{}".format, range(400_000)), 0)}).encode()
    assert len(unknown) < MAX_JSON_BYTES
    with serving(services, portal) as url, ThreadPoolExecutor() as threads:
        asking = threads.submit(_post, url, unknown)
        slowest_s = 0.0
        while not asking.done():
            slowest_s = max(slowest_s, httpx.get(f"{url}/livez").raise_for_status().elapsed.total_seconds())
        answer = asking.result()
        assert slowest_s < 3 and answer.status_code == 400 and len(answer.content) < 1000
        assert "400001 fields, at most 64" in answer.json()["error"]["message"]
        assert _post(url, unknown + b" " * MAX_JSON_BYTES).status_code == 413


def _post(url: str, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return httpx.post(f"{url}/v1/images/generations", content=body, headers=headers, timeout=30)


@pytest.mark.parametrize("path", ["/v1/tails/tail_x", "/v1/images/generations"])
def test_many_problems_are_not_all_told(client: TestClient, services: Services, path: str) -> None:
    path = path.replace("tail_x", services.store.add_tail("local", "Rex", TAIL).id)
    ask = client.patch if "tails" in path else client.post
    answer = ask(path, json={f"k{number}": 0 for number in range(MAX_FIELDS)}).json()
    assert len(answer.get("error", answer)["errors"]) == MAX_PROBLEMS


def test_a_tail_in_base64_fits_into_json() -> None:
    assert MAX_JSON_BYTES > 4 * MAX_SIZE_BYTES / 3 + 8 * 4 * 4000  # and two prompts, however they are escaped
