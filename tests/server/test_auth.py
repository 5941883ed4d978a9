"""Who gets in: keys, names and origins."""

import pytest
from starlette.testclient import TestClient

from engine.server.app import create_app
from engine.server.caller import Caller
from engine.server.origin import is_loopback
from engine.server.records import SCOPES
from engine.server.services import Services
from tests.server.conftest import HOST

JSON = {"prompt": "a dog"}


def bearer(services: Services, *scopes: str) -> dict[str, str]:
    _, token = services.store.add_key("alice", frozenset(scopes or ("edit", "fit", "tails")))  # type: ignore[arg-type]
    return {"authorization": f"Bearer {token}"}


def test_without_keys_this_machine_may_do_everything(client: TestClient) -> None:
    assert client.get("/v1/tails").status_code == 200
    assert client.get("/v1/tails", headers={"authorization": "Bearer whatever"}).status_code == 200
    assert all(map(Caller("local").may, SCOPES))


def test_with_the_first_key_nobody_gets_in_without_one(client: TestClient, services: Services) -> None:
    key = bearer(services)
    answer = client.get("/v1/tails")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer" and answer.headers["x-should-retry"] == "false"
    assert client.get("/v1/tails", headers=key).status_code == 200


@pytest.mark.parametrize("header", ["Bearer ", "Bearer hiper_x", "Basic dTpw", "hiper_x", "Bearer é", ""])
def test_what_is_no_key_opens_nothing(client: TestClient, services: Services, header: str) -> None:
    bearer(services)
    for path in ("/v1/tails", "/v1/info"):
        answer = client.get(path, headers={"authorization": header.encode()})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_the_word_bearer_may_be_written_in_any_case(client: TestClient, services: Services) -> None:
    header = bearer(services)["authorization"].replace("Bearer", "bearer")
    assert client.get("/v1/tails", headers={"authorization": header}).status_code == 200


def test_the_last_key_revoked_leaves_the_door_shut(client: TestClient, services: Services) -> None:
    key = bearer(services)
    services.store.revoke_key(services.store.keys()[0].id)
    assert client.get("/v1/tails", headers=key).status_code == client.get("/v1/tails").status_code == 401


def test_the_first_key_counts_even_if_it_is_revoked(services: Services) -> None:
    assert not services.store.has_keys()
    key, _ = services.store.add_key("alice")
    assert services.store.revoke_key(key.id) and services.store.has_keys()


def test_a_key_does_what_its_scopes_say(client: TestClient, services: Services) -> None:
    key = bearer(services, "tails")
    assert client.get("/v1/tails", headers=key).status_code == 200
    answer = client.get("/v1/fits", headers=key)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden") and "'fit'" in answer.json()["detail"]


def test_a_key_with_a_scope_of_former_times_does_what_its_others_say(client: TestClient, services: Services) -> None:
    key = bearer(services, "tails")
    with services.store._database.writing() as connection:
        connection.execute("UPDATE keys SET scopes = ?", ("admin tails",))
    assert client.get("/v1/tails", headers=key).status_code == 200
    assert client.get("/v1/fits", headers=key).status_code == 403
    assert services.store.keys()[0].scopes == {"tails"}


def test_openais_routes_say_it_in_openais_form(client: TestClient, services: Services) -> None:
    bearer(services)
    answer = client.post("/v1/images/generations", json=JSON)
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "unauthorized"


def test_what_a_page_needs_before_it_has_a_key_is_open(client: TestClient, services: Services) -> None:
    bearer(services)
    assert client.get("/v1/info").json()["keys"]
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_a_strangers_upload_is_refused_unread(client: TestClient, services: Services) -> None:
    bearer(services)
    taken = []

    def body():  # type: ignore[no-untyped-def]
        for _ in range(100):
            taken.append(1)
            yield b"x" * 2**16

    answer = client.post("/v1/tails", content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 401 and len(taken) <= 1


@pytest.mark.parametrize("host", [HOST, "localhost:1", "localhost", "[::1]:8910", "LOCALHOST"])
def test_this_servers_names_are_known(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8910", "", "localhost.evil", "[::2]"])
def test_another_name_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/livez", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_refused")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": f"http://{HOST}"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"ftp://{HOST}"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_other_pages_may_not_make_this_server_do_things(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    body = JSON | {"num_inference_steps": 1}
    answer = client.post("/v1/images/generations", json=body, headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "origin_refused"


def test_other_pages_get_no_permission_to_read(client: TestClient) -> None:
    asked = client.options(
        "/v1/tails", headers={"origin": "http://evil.example", "access-control-request-method": "GET"}
    )
    read = client.get("/v1/tails", headers={"origin": "http://evil.example"})
    assert asked.status_code == 403 and "access-control-allow-origin" not in {**asked.headers, **read.headers}


def test_a_proxys_name_can_be_allowed(services: Services, client: TestClient) -> None:
    services.settings = services.settings.model_copy(update={"allowed_hosts": ("hiper.example",)})
    proxied = TestClient(create_app(services), base_url="http://hiper.example")
    assert proxied.get("/livez").status_code == 200
    assert proxied.get("/livez", headers={"host": "evil.example"}).status_code == 421
    changed = proxied.patch(
        "/v1/tails/x", json={"name": "x"}, headers={"host": HOST, "origin": "https://hiper.example"}
    )
    assert changed.status_code == 404


def test_elsewhere_than_loopback_any_name_will_do_unless_some_are_named(services: Services) -> None:
    services.settings = services.settings.model_copy(update={"host": "0.0.0.0"})
    assert TestClient(create_app(services), base_url="http://any.example").get("/livez").status_code == 200


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.com", "")))
