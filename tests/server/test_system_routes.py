"""What the server says of itself. Oracle: its bundle's manifest, its store and the metrics' text form."""

import pytest
from starlette.testclient import TestClient

from engine.server.services import Services
from engine.server.warm_up import UNDER_WAY
from tests.server.test_tails_routes import bring


def test_info_describes_the_bundle_and_the_limits(client: TestClient, services: Services) -> None:
    info = client.get("/v1/info").json()
    assert (info["model"], info["image_size"], info["dim"]) == ("toy", 32, 8)
    assert info["defaults"] == {"guidance_scale": 3.0, "num_inference_steps": 50, "tail_strength": 0.8}
    assert info["limits"]["max_steps"] == services.settings.max_steps
    assert info["solvers"] == ["ddim", "dpmpp_2m", "euler"]
    assert info["engine"] and info["runtime"] == "onnxruntime" and info["fits"] and not info["keys"]


def test_info_says_the_same_defaults_while_the_engine_starts(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.get("/v1/info").json()
    monkeypatch.setattr(services.edits, "ready", None)
    info = client.get("/v1/info").json()
    assert info["defaults"] == before["defaults"]
    assert not info["engine"] and info["runtime"] is None


def test_live_and_ready(client: TestClient) -> None:
    assert client.get("/livez").json() == client.get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("check", "why"),
    [("draining", "ends"), ("engine", "starting"), ("warm_up", UNDER_WAY), ("disk", "are to stay free")],
)
def test_unready_says_which_check_failed(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch, check: str, why: str
) -> None:
    if check == "draining":
        services.draining = True
    elif check == "engine":
        monkeypatch.setattr(services.edits, "ready", None)
    elif check == "warm_up":
        services.warm_up.failure = UNDER_WAY
    else:
        services.settings = services.settings.model_copy(update={"disk_floor_bytes": 2**60})
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
    assert [*answer.json()["failed"]] == [check] and why in answer.json()["failed"][check]
    assert client.get("/livez").status_code == 200


def test_strangers_are_told_what_failed_and_nothing_of_the_machine(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = services.store.add_key("alice")[1]
    monkeypatch.setattr(services.edits, "ready", None)
    monkeypatch.setattr(services.edits, "failure", "/srv/secret/manifest.json is damaged")
    monkeypatch.setattr(type(services.fits), "problem", property(lambda fits: "/srv/secret/model is no model"))
    services.warm_up.failure = "if the change is meant, delete /srv/secret/a.png"
    services.settings = services.settings.model_copy(update={"disk_floor_bytes": 2**60})
    services.draining = True
    known = {"authorization": f"Bearer {token}"}
    for stranger in ({}, {"authorization": "Bearer hiper_x"}, {"authorization": "Basic dTpw"}):
        answer = client.get("/readyz", headers=stranger)
        assert answer.status_code == 503
        assert answer.json()["failed"].keys() == {"draining", "engine", "warm_up", "disk"}
        assert "secret" not in answer.text and str(services.settings.data_dir) not in answer.text
    assert "secret" not in client.get("/v1/info").text and client.get("/v1/info").json()["no_fits"]
    told = client.get("/readyz", headers=known).json()["failed"]
    assert told["engine"] == services.edits.failure and told["warm_up"] == services.warm_up.failure
    assert client.get("/v1/info", headers=known).json()["no_fits"] == "/srv/secret/model is no model"


def test_models_are_the_bundle_and_the_callers_tails(client: TestClient) -> None:
    tail = bring(client).json()["id"]
    models = client.get("/v1/models").json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["toy", f"hiper:{tail}"]
    assert client.get("/v1/models/toy").json() == client.get("/v1/models/hiper").json() == models["data"][0]
    assert client.get(f"/v1/models/hiper:{tail}").json() == models["data"][1]


def test_an_unknown_model_is_an_error_in_openais_form(client: TestClient) -> None:
    tail = bring(client).json()["id"]
    for name in ("dall-e-3", "hiper:tail_x", tail):
        answer = client.get(f"/v1/models/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found" and name in answer.json()["error"]["message"]


def test_the_schema_is_served_and_names_every_route(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert {"/v1/fits", "/v1/tails/{tail_id}", "/v1/images/edits", "/readyz"} <= schema["paths"].keys()
