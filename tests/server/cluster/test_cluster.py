"""`hiper-serve --ray` for real: a cluster with two engines gives what one server gives, whatever is killed."""

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from engine.server.folder_store import FolderStore
from tests.server.cluster.conftest import ENGINE, FRONT, MAX_EDITS, PATIENCE_S, PROXY, REPLICAS, Cluster
from tests.server.conftest import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

GENERATE = "/v1/images/generations"
PLACES = REPLICAS * MAX_EDITS


def pictures(answer: httpx.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["b64_json"]) for image in answer.json()["data"]]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def expected(client: TestClient, **wish: Any) -> list[bytes]:
    """What one `hiper-serve` paints."""
    return pictures(client.post(GENERATE, json={"prompt": "a dog", "num_inference_steps": 2} | wish))


def test_pictures_are_those_of_one_server_whichever_engine_paints_them(cluster: Cluster, client: TestClient) -> None:
    cluster.wait_whole()
    wishes = [{"seed": seed, "num_inference_steps": 3 + seed % 3} for seed in range(PLACES)]
    with ThreadPoolExecutor(PLACES) as pool:
        answers = [*pool.map(lambda wish: cluster.paint(**wish), wishes)]
    assert [*map(pictures, answers)] == [expected(client, **wish) for wish in wishes]
    assert all(len(answer.headers.get_list("x-request-id")) == 1 for answer in answers)


def test_previews_come_one_by_one_and_are_those_of_one_server(cluster: Cluster, client: TestClient) -> None:
    wish = {"prompt": "a dog", "seed": 5, "num_inference_steps": 6, "stream": True, "partial_images": 3}

    def told(response: Any) -> list[tuple[str, Any]]:
        datas = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
        return [(data["type"], data["b64_json"]) for data in datas]

    with client.stream("POST", GENERATE, json=wish) as one:
        single = told(one)
    with httpx.stream("POST", cluster.url + GENERATE, json=wish, timeout=PATIENCE_S) as many:
        assert told(many) == single
    assert [kind for kind, _ in single] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]


def test_a_full_cluster_says_so_and_when_to_ask_again(cluster: Cluster) -> None:
    cluster.wait_whole()
    with cluster.holding(PLACES) as held:
        refused = cluster.paint()
        assert code(refused) == (503, "busy") and refused.headers["retry-after"] == "1"
        cluster.go()
        assert all(len(pictures(edit.answer.result())) == 1 for edit in held)


def test_cancelled_edits_leave_their_places(cluster: Cluster) -> None:
    cluster.wait_whole()
    with cluster.holding(PLACES) as held:
        for edit in held:
            answer = httpx.post(f"{cluster.url}/v1/requests/{edit.id}/cancel", timeout=PATIENCE_S)
            assert answer.json()["status"] == "cancelled"
        assert {code(edit.answer.result()) for edit in held} == {(409, "edit_cancelled")}
    cluster.wait_whole()


def test_clients_that_go_away_leave_their_places(cluster: Cluster) -> None:
    cluster.wait_whole()
    ids = [f"gone-{index}" for index in range(PLACES)]
    with cluster.standing():
        clients = [HTTPConnection(cluster.url.removeprefix("http://")) for _ in ids]
        for id, client in zip(ids, clients, strict=True):
            client.request(
                "POST", GENERATE, '{"prompt": "a dog"}', {"x-request-id": id, "content-type": "application/json"}
            )
        cluster.wait_known(ids)
        for client in clients:
            client.close()
        wait_until(lambda: all(cluster.status(id) == "cancelled" for id in ids), PATIENCE_S)
    cluster.wait_whole()


def test_edits_of_a_killed_engine_are_painted_by_another(cluster: Cluster, client: TestClient) -> None:
    cluster.wait_whole()
    # Half of the places, so that all find one in the engine that is left.
    with cluster.holding(MAX_EDITS) as held:
        cluster.kill(cluster.pids(ENGINE)[0])
        cluster.go()
        found = [pictures(edit.answer.result()) for edit in held]
    assert found == [expected(client, seed=seed) for seed in range(MAX_EDITS)]
    cluster.wait_whole()


def test_a_killed_proxy_loses_its_connections_and_no_place(cluster: Cluster) -> None:
    cluster.wait_whole()
    with cluster.holding(PLACES) as held:
        cluster.kill(cluster.pids(PROXY)[0])
        for edit in held:
            with pytest.raises(httpx.TransportError):
                edit.answer.result()
    wait_until(cluster.is_ready, PATIENCE_S)
    cluster.wait_whole()


def test_a_killed_front_is_there_again_with_its_data(cluster: Cluster) -> None:
    cluster.wait_whole()
    with cluster.holding(PLACES) as held:
        cluster.kill(cluster.pids(FRONT)[0])
        assert all(edit.answer.result().status_code >= 500 for edit in held)
    cluster.wait_whole()


def test_a_rolling_restart_loses_no_request(cluster: Cluster, client: TestClient) -> None:
    cluster.wait_whole()
    before = {*cluster.pids(FRONT), *cluster.pids(ENGINE)}
    with ThreadPoolExecutor(2) as pool:
        redeploying = pool.submit(cluster.redeploy)
        asking = pool.submit(lambda: [cluster.paint(seed=1) for _ in iter(redeploying.done, True)])
        redeploying.result()
        answers = asking.result()
    assert {*map(tuple, map(pictures, answers))} == {tuple(expected(client, seed=1))}
    assert not before & {*cluster.pids(FRONT), *cluster.pids(ENGINE)}


@pytest.mark.parametrize("token", ["", "w" * 64])
def test_nobody_joins_the_cluster_without_its_token(cluster: Cluster, token: str) -> None:
    code = f"import ray; ray.init({cluster.address!r}); print('joined')"
    environment = os.environ | {"RAY_AUTH_MODE": "token" if token else "disabled", "RAY_AUTH_TOKEN": token}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.returncode != 0 and "joined" not in found.stdout and "uthenticat" in found.stderr


def test_who_keeps_a_key_is_let_through_and_nobody_else(cluster: Cluster) -> None:
    """The last test but those that restart it all: from its key on there is no way in without one."""
    with closing(FolderStore(cluster.server.data_dir, alone=False)) as store:
        _, token = store.add_key("alice")
    assert code(cluster.paint()) == (401, "unauthorized")
    assert code(cluster.paint(key="hiper_wrong")) == (401, "unauthorized")
    assert len(pictures(cluster.paint(key=token))) == 1
