"""Tails by HTTP. Oracle: the tail file itself, as `engine.tail_file` reads it."""

from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from engine.server.services import Services
from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo
from tests.server.test_images_routes import picture

FILE = TailFile(
    np.linspace(-1, 1, 40, dtype=np.float32).reshape(5, 8),
    np.zeros((5, 8), np.float32),
    TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog", tail_strength=0.7),
)
DATA = serialize_tail_file(FILE)


def bring(client: TestClient, data: bytes = DATA, **fields: str):  # type: ignore[no-untyped-def]
    return client.post("/v1/tails", files={"file": ("../../etc/passwd", data)}, data=fields)


def test_a_tail_is_brought_shown_and_taken_along(client: TestClient) -> None:
    answer = bring(client, name="Rex")
    tail = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"/v1/tails/{tail['id']}"
    assert (tail["name"], tail["source_prompt"], tail["tail_strength"]) == ("Rex", "a dog", 0.7)
    assert tail["digest"] == FILE.digest and tail["image"] is None and tail["fit"] is None
    assert client.get(f"/v1/tails/{tail['id']}").json() == tail
    content = client.get(tail["content"])
    assert content.content == DATA
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''Rex.hiper.safetensors"


def test_a_nameless_tail_is_named_after_its_prompt_and_never_after_the_clients_file(client: TestClient) -> None:
    assert bring(client).json()["name"] == "a dog"


def test_a_name_cannot_break_out_of_a_header(client: TestClient) -> None:
    tail = bring(client, name='Rex"; é/\\').json()
    disposition = client.get(tail["content"]).headers["content-disposition"]
    assert disposition == "attachment; filename*=UTF-8''Rex%22%3B%20%C3%A9%2F%5C.hiper.safetensors"


def test_tails_are_listed_page_by_page_newest_first(client: TestClient) -> None:
    ids = [bring(client).json()["id"] for _ in range(3)][::-1]
    first = client.get("/v1/tails", params={"limit": 2}).json()
    assert ([tail["id"] for tail in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = client.get("/v1/tails", params={"limit": 2, "after": ids[1]}).json()
    assert ([tail["id"] for tail in rest["data"]], rest["has_more"]) == (ids[2:], False)


def test_a_tail_gets_another_name(client: TestClient) -> None:
    tail = bring(client).json()
    assert client.patch(f"/v1/tails/{tail['id']}", json={"name": "  Bella "}).json() == tail | {"name": "Bella"}


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, None, 3])
def test_what_is_no_name_is_refused(client: TestClient, name: object) -> None:
    tail = bring(client).json()
    answer = client.patch(f"/v1/tails/{tail['id']}", json={"name": name})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, "validation_error", "name")


def test_a_deleted_tail_is_gone(client: TestClient) -> None:
    place = f"/v1/tails/{bring(client).json()['id']}"
    assert client.delete(place).status_code == 204
    for answer in (client.get(place), client.get(f"{place}/content"), client.delete(place)):
        assert (answer.status_code, answer.json()["code"]) == (404, "tail_not_found")


def test_a_tail_without_a_picture_says_so(client: TestClient) -> None:
    answer = client.get(f"/v1/tails/{bring(client).json()['id']}/image")
    assert answer.status_code == 404 and "without its picture" in answer.json()["detail"]


@pytest.mark.parametrize("data", [b"", b"no tail", DATA[:-1], DATA + b"x", b"\x80\x04."])
def test_what_is_no_tail_file_is_refused(client: TestClient, data: bytes) -> None:
    answer = bring(client, data)
    assert (answer.status_code, answer.json()["code"]) == (422, "tail_invalid")
    assert client.get("/v1/tails").json()["data"] == []


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"])
def test_names_cannot_steer_a_terminal(client: TestClient, character: str) -> None:
    assert bring(client, name=f"Rex{character}31m").json()["param"] == "name"
    named = {"": "a subject", " \n": "a subject", f"a {character}dog": "a dog", "x" * 99 + " y": "x" * 99}
    for prompt, name in named.items():
        data = serialize_tail_file(replace(FILE, info=replace(FILE.info, source_prompt=prompt)))
        assert client.post("/v1/tails", files={"file": data}).json()["name"] == name


@pytest.mark.parametrize("name", ["山田\u3000太郎", "👩\u200d🚀", "Åsa O'Hara"])
def test_names_of_all_scripts_are_names(client: TestClient, name: str) -> None:
    assert bring(client, name=name).json()["name"] == name


def test_unknown_fields_are_refused(client: TestClient) -> None:
    answer = bring(client, nmae="Rex")
    assert (answer.status_code, answer.json()["param"]) == (422, "nmae")


def test_strangers_tails_do_not_exist(client: TestClient, services: Services) -> None:
    [alice, bob] = ({"authorization": f"Bearer {services.store.add_key(name)[1]}"} for name in ("alice", "bob"))
    answer = client.post("/v1/tails", files={"file": DATA}, headers=alice)
    place = answer.headers["location"]
    assert client.get(place, headers=alice).status_code == 200
    for method, path in [("GET", ""), ("GET", "/content"), ("GET", "/image"), ("DELETE", "")]:
        assert client.request(method, place + path, headers=bob).json()["code"] == "tail_not_found"
    assert client.get("/v1/tails", headers=bob).json()["data"] == []


def test_an_owner_keeps_so_many_tails_until_some_are_deleted(client: TestClient, services: Services) -> None:
    services.settings = services.settings.model_copy(update={"max_tails": 2})
    place = bring(client).headers["location"]
    fit = {"files": {"image": picture()}, "data": {"prompt": "a dog"}}
    assert client.post("/v1/fits", **fit).status_code == 202
    for refused in (bring(client), client.post("/v1/fits", **fit)):
        assert (refused.status_code, refused.json()["code"]) == (429, "tails_full")
        assert refused.headers["x-should-retry"] == "false" and "delete some" in refused.json()["detail"]
    assert client.delete(place).status_code == 204 and bring(client).status_code == 201
    other = {"authorization": f"Bearer {services.store.add_key('bob')[1]}"}
    assert client.post("/v1/tails", files={"file": DATA}, headers=other).status_code == 201


def test_an_owner_keeps_so_many_bytes_until_some_are_deleted(client: TestClient, services: Services) -> None:
    fit = {"files": {"image": picture()}, "data": {"prompt": "a dog"}}
    services.settings = services.settings.model_copy(update={"max_bytes_per_owner": len(picture()) + len(DATA) + 1000})
    place = client.post("/v1/fits", **fit).headers["location"]
    assert client.post(f"{place}/cancel").status_code == 200 and bring(client).status_code == 201
    services.settings = services.settings.model_copy(update={"max_bytes_per_owner": 1000})
    for refused in (bring(client), client.post("/v1/fits", **fit)):
        assert (refused.status_code, refused.json()["code"]) == (429, "bytes_full")
        assert refused.headers["x-should-retry"] == "false" and "delete some" in refused.json()["detail"]


def test_nothing_is_stored_on_a_full_disk_and_reading_goes_on(client: TestClient, services: Services) -> None:
    place = f"/v1/tails/{bring(client).json()['id']}"
    services.settings = services.settings.model_copy(update={"disk_floor_bytes": 2**60})
    answer = bring(client)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert client.get(place).status_code == 200 and client.delete(place).status_code == 204
