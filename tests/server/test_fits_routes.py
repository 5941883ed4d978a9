"""Fits by HTTP, with the store moved by hand in place of a worker. Oracle: what the store was told."""

import base64
import io
import json
import logging
import re
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from PIL import Image
from starlette.testclient import TestClient

from engine.server import limits
from engine.server.fit_prompts import TAIL_TOKENS
from engine.server.fit_queue import MAX_LOST
from engine.server.services import Services
from tests.server.conftest import PATIENCE_S, wait_until
from tests.server.serving import serving
from tests.server.test_metrics import read
from tests.server.test_tails_routes import DATA

LEASE_S = 60


def picture(color: str = "red", form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 32), color).save(buffer, form)
    return buffer.getvalue()


def submit(client: TestClient, image: bytes | None = None, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    fields = {"prompt": "a dog", **fields}
    return client.post("/v1/fits", files={"image": image or picture()}, data=fields, headers=headers)


def events(client: TestClient, place: str, **headers: str) -> list[tuple[int, str, dict[str, Any]]]:
    """All events of a stream that ends."""
    text = client.get(f"{place}/events", headers=headers).text
    found = re.findall(r"event: (\w+)\ndata: (.*)\nid: (\d+)\n\n", text)
    return [(int(seq), kind, json.loads(data)) for kind, data, seq in found]


def test_a_fit_is_accepted_and_found_again(client: TestClient, services: Services) -> None:
    answer = submit(client, prompt=" a dog ", name="Rex", steps=7, learning_rate=0.1, preset="paper", crop="pad")
    fit = answer.json()
    assert answer.status_code == 202 and answer.headers["location"] == f"/v1/fits/{fit['id']}"
    assert (fit["status"], fit["queue_position"], fit["prompt"], fit["name"]) == ("queued", 1, "a dog", "Rex")
    assert fit["settings"] == {
        "preset": "paper",
        "subject": "animal",
        "crop": "pad",
        "seed": 0,
        "steps": 7,
        "learning_rate": 0.1,
    }
    assert client.get(f"/v1/fits/{fit['id']}").json() == fit
    alone = {"losses", "previews", "queue_position", "eta_s"}
    listed = {name: value for name, value in fit.items() if name not in alone}
    assert fit.keys() > alone
    assert client.get("/v1/fits").json() == {"object": "list", "data": [listed], "has_more": False}
    with Image.open(io.BytesIO(client.get(fit["image"]).content)) as kept:
        assert (kept.format, kept.size, kept.getpixel((0, 0))) == ("PNG", (40, 32), (255, 0, 0))


def test_a_fit_shows_how_far_it_is_and_what_came_of_it(client: TestClient, services: Services) -> None:
    place = submit(client).headers["location"]
    claim = services.store.claim_fit(LEASE_S)
    assert claim is not None
    id, fence = claim.fit.id, claim.fit.fence
    assert services.store.record_step(id, fence, 2, 4, [0.5, 0.25], LEASE_S)
    assert services.store.record_preview(id, fence, 2, picture("blue"))
    fit = client.get(place).json()
    assert (fit["status"], fit["step"], fit["steps"], fit["loss"]) == ("running", 2, 4, 0.25)
    assert fit["losses"] == [[1, 0.5], [2, 0.25]] and fit["queue_position"] is None and fit["eta_s"] is None
    assert fit["previews"] == [{"step": 2, "url": f"{place}/previews/2"}]
    assert client.get(f"{place}/previews/2").content == picture("blue")
    assert client.get(f"{place}/previews/3").json()["code"] == "not_found"
    assert services.store.record_step(id, fence, 3, 4, [0.2], LEASE_S) and client.get(place).json()["eta_s"] >= 0
    tail = services.store.finish_fit(id, fence, DATA)
    assert tail is not None
    done = client.get(place).json()
    assert (done["status"], done["tail"], done["eta_s"]) == ("succeeded", tail.id, None)
    assert client.get(f"/v1/tails/{tail.id}").json()["fit"] == id
    assert client.get(f"/v1/tails/{tail.id}/image").content == client.get(fit["image"]).content


def test_events_are_told_from_the_first_or_from_where_one_was(client: TestClient, services: Services) -> None:
    place = submit(client).headers["location"]
    claim = services.store.claim_fit(LEASE_S)
    assert claim is not None
    services.store.record_preview(claim.fit.id, claim.fit.fence, 1, picture())
    services.store.fail_fit(claim.fit.id, claim.fit.fence, {"code": "diverged", "message": "it did"})
    told = events(client, place)
    assert [seq for seq, _, _ in told] == [*range(1, len(told) + 1)]
    assert [kind for _, kind, _ in told] == ["queued", "started", "preview", "failed"]
    assert told[2][2]["url"] == f"{place}/previews/1" and "image" not in told[2][2]
    assert told[3][2]["code"] == "diverged"
    assert events(client, place, **{"Last-Event-ID": "2"}) == told[2:]
    assert events(client, place, **{"Last-Event-ID": "4"}) == []
    assert events(client, place, **{"Last-Event-ID": "99"}) == []


def test_events_come_as_they_happen(client: TestClient, services: Services, portal: BlockingPortal) -> None:
    place = submit(client).headers["location"]
    following = portal.start_task_soon(lambda: _follow(services, place.rsplit("/", 1)[1]))
    claim = services.store.claim_fit(LEASE_S)
    assert claim is not None
    services.store.cancel_fit("local", claim.fit.id)
    services.store.requeue_fit(claim.fit.id, claim.fit.fence, counts=False)
    assert following.result(PATIENCE_S) == ["queued", "started", "cancelled"]


def test_fits_are_counted_by_how_they_end_wherever_they_do(client: TestClient, services: Services) -> None:
    client.post(f"{submit(client).headers['location']}/cancel")
    submit(client)
    for _ in range(MAX_LOST):
        claim = services.store.claim_fit(LEASE_S)
        assert claim is not None
        services.store.requeue_fit(claim.fit.id, claim.fit.fence, counts=True)
    found = read(services.metrics)
    assert found["hiper_fits_total", "cancelled"] == found["hiper_fits_total", "failed"] == 1


def test_watchers_are_let_go_when_the_server_ends(
    client: TestClient, services: Services, portal: BlockingPortal
) -> None:
    place = submit(client).headers["location"]
    following = portal.start_task_soon(lambda: _follow(services, place.rsplit("/", 1)[1]))
    portal.call(services.fit_events.close)
    assert following.result(PATIENCE_S) in ([], ["queued"])


def test_who_goes_away_is_forgotten(client: TestClient, services: Services) -> None:
    place = submit(client).headers["location"]
    with client.stream("GET", f"{place}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: queued"
        assert services.fit_events._watchers
    wait_until(lambda: not services.fit_events._watchers)


def test_a_caller_has_so_many_streams_and_others_have_their_own(
    client: TestClient, services: Services, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS", 2)
    [alice, bob] = ({"authorization": f"Bearer {services.store.add_key(name)[1]}"} for name in ("alice", "bob"))
    mine, other = (submit(client, headers=key).headers["location"] for key in (alice, bob))
    with serving(services, portal) as url, httpx.Client(base_url=url) as web:
        with web.stream("GET", f"{mine}/events", headers=alice), web.stream("GET", f"{mine}/events", headers=alice):
            refused = web.get(f"{mine}/events", headers=alice)
            assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
            assert refused.headers["retry-after"] == "5"
            with web.stream("GET", f"{other}/events", headers=bob) as answer:
                assert answer.status_code == 200
        wait_until(lambda: not services.limits._streams)
        with web.stream("GET", f"{mine}/events", headers=alice) as answer:
            assert answer.status_code == 200


def test_who_goes_away_while_there_is_news_is_forgotten_at_once(
    client: TestClient, services: Services, portal: BlockingPortal, caplog: pytest.LogCaptureFixture
) -> None:
    place = submit(client).headers["location"]
    claim = services.store.claim_fit(LEASE_S)
    assert claim is not None
    with serving(services, portal) as url, httpx.Client(base_url=url) as stranger:
        with stranger.stream("GET", f"{place}/events") as answer:
            next(answer.iter_lines())
            for step in range(1, 100):
                losses = [0.5] * 1000
                services.store.record_step(claim.fit.id, claim.fit.fence, step, 1000, losses, LEASE_S)
        wait_until(lambda: not services.fit_events._watchers, patience_s=5)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def _follow(services: Services, id: str) -> list[str]:
    return [event.kind async for event in services.fit_events.follow("local", id)]


def test_a_queued_fit_is_cancelled_at_once_and_then_deleted(client: TestClient) -> None:
    place = submit(client).headers["location"]
    refused = client.delete(place)
    assert (refused.status_code, refused.json()["code"]) == (409, "fit_not_ended")
    assert client.post(f"{place}/cancel").json()["status"] == "cancelled"
    assert client.post(f"{place}/cancel").json()["status"] == "cancelled"
    assert client.delete(place).status_code == 204
    assert client.get(place).json()["code"] == "fit_not_found"


def test_a_running_fit_is_asked_to_stop(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = submit(client).headers["location"]
    claim = services.store.claim_fit(LEASE_S)
    stopped: list[str] = []

    async def cancel(id: str) -> None:
        stopped.append(id)

    monkeypatch.setattr(services.fits, "cancel", cancel)
    assert client.post(f"{place}/cancel").json()["status"] == "running"
    assert claim is not None and stopped == [claim.fit.id]


def test_the_same_request_again_finds_the_same_fit(client: TestClient) -> None:
    first = submit(client, headers={"idempotency-key": "k1"})
    again = submit(client, headers={"idempotency-key": "k1"})
    assert again.status_code == 202 and again.json()["id"] == first.json()["id"]
    assert submit(client, headers={"idempotency-key": "k2"}).json()["id"] != first.json()["id"]
    other = submit(client, headers={"idempotency-key": "k1"}, prompt="a cat")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert other.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x" * 1001}, "prompt"),
        ({"preset": "slow"}, "preset"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"steps": 0}, "steps"),
        ({"learning_rate": "nan"}, "learning_rate"),
        ({"learning_rate": "inf"}, "learning_rate"),
        ({"subjekt": "dog"}, "subjekt"),
    ],
)
def test_impossible_settings_are_refused(client: TestClient, fields: dict[str, Any], param: str) -> None:
    answer = submit(client, **fields)
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, "validation_error", param)


def test_what_is_no_picture_is_refused(client: TestClient) -> None:
    answer = submit(client, b"no picture")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert submit(client, picture(form="GIF")).status_code == 415
    assert submit(client, picture()[:60]).json()["code"] == "image_invalid"
    assert client.get("/v1/fits").json()["data"] == []


def test_a_key_has_a_quota_and_the_queue_an_end(client: TestClient, services: Services) -> None:
    _, token = services.store.add_key("alice", max_fits=1)
    key = {"authorization": f"Bearer {token}"}
    assert submit(client, headers=key).status_code == 202
    refused = submit(client, headers=key)
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
        429,
        "quota_exceeded",
        "30",
    )
    services.settings = services.settings.model_copy(update={"max_queued_fits": 1})
    _, other = services.store.add_key("bob")
    refused = submit(client, headers={"authorization": f"Bearer {other}"})
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")


def test_strangers_fits_do_not_exist(client: TestClient, services: Services) -> None:
    [alice, bob] = ({"authorization": f"Bearer {services.store.add_key(name)[1]}"} for name in ("alice", "bob"))
    place = submit(client, headers=alice).headers["location"]
    for method, path in [
        ("GET", ""),
        ("POST", "/cancel"),
        ("GET", "/events"),
        ("GET", "/image"),
        ("GET", "/previews/1"),
        ("DELETE", ""),
    ]:
        answer = client.request(method, place + path, headers=bob)
        assert (answer.status_code, answer.json()["code"]) == (404, "fit_not_found")
    assert client.get(place, headers=alice).json()["status"] == "queued"


def test_where_nothing_can_be_fitted_it_says_why(client: TestClient, services: Services) -> None:
    services.fits, services.no_fits = None, "this server makes no fits; bring a tail"
    answer = submit(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "fits_unavailable")
    assert answer.json()["detail"] == services.no_fits
    assert client.get("/v1/info").json()["no_fits"] == services.no_fits


def test_who_has_no_room_for_a_fit_has_no_picture_decoded(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = services.store.add_key("alice", max_fits=1)
    key = {"authorization": f"Bearer {token}"}
    first = submit(client, headers=key | {"idempotency-key": "k"})

    async def decode(data: bytes) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(services.uploads, "decode", decode)
    assert submit(client, headers=key).json()["code"] == "quota_exceeded"
    assert submit(client, headers=key | {"idempotency-key": "k"}).json()["id"] == first.json()["id"]
    assert submit(client, picture("blue"), key | {"idempotency-key": "k"}).json()["code"] == "idempotency_mismatch"
    services.settings = services.settings.model_copy(update={"max_queued_fits": 1})
    assert submit(client, headers={"authorization": f"Bearer {services.store.add_key('bob')[1]}"}).status_code == 503


def test_a_prompt_that_leaves_no_room_for_its_tail_is_refused_at_once(client: TestClient) -> None:
    """In the words of an edit with a tail of that length."""
    prompt = "a dog " * 36
    told = {}
    for subject in TAIL_TOKENS:
        answer = submit(client, prompt=prompt, subject=subject)
        assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, "prompt_invalid", "prompt")
        assert answer.headers["x-should-retry"] == "false"
        told[subject] = answer.json()["detail"]
    tail_file = base64.b64encode(DATA).decode()
    edit = client.post("/v1/images/generations", json={"prompt": prompt.strip(), "tail_file": tail_file})
    assert edit.json()["error"]["message"] == told["animal"] == told["object"] != told["person"]
    assert "a tail of 10" in told["person"]
    assert client.get("/v1/fits").json()["data"] == []
    assert submit(client, prompt="a dog " * 34).status_code == 202


def test_the_worker_gives_a_subject_as_many_tokens_as_were_checked() -> None:
    assert pytest.importorskip("hiper.recipe").TAIL_TOKENS == TAIL_TOKENS
