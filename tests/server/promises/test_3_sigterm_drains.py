"""Promise 3: SIGTERM ends everything in order. Oracle: the same fit and the same edits without any SIGTERM."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from tests.server.conftest import wait_until
from tests.server.promises.client import CLIENT
from tests.server.promises.conftest import MINUTES, WholeFit
from tests.server.promises.deployment import Deployment, repeated_steps, until
from tests.server.promises.edits import GENERATE, ask, status
from tests.server.promises.fits import check_results, fit_form, submit

ROUNDS = 10 if MINUTES else 1
EDITS = [
    {"prompt": "a dog", "seed": 1, "n": 2, "num_inference_steps": 30},
    {"prompt": "a cat", "seed": 5, "n": 1, "num_inference_steps": 50, "stream": True, "partial_images": 2},
]


def test_edits_finish_and_fits_go_on_where_they_were(deployment: Deployment, whole_fit: WholeFit) -> None:
    expected = [ask(deployment.url, wish, 60).images for wish in EDITS]
    for _ in range(ROUNDS):
        drain_once(deployment, whole_fit, expected)


def drain_once(deployment: Deployment, whole_fit: WholeFit, expected: list[dict[int, bytes]]) -> None:
    engine = deployment.part("engine")
    assert engine is not None
    with ThreadPoolExecutor(len(EDITS)) as pool:
        engine.suspend()  # so that the edits are under way for as long as they are wanted to be
        ids = [uuid.uuid4().hex for _ in EDITS]
        asked = [pool.submit(ask, deployment.url, wish, 150, id) for wish, id in zip(EDITS, ids, strict=True)]
        wait_until(lambda: all(status(deployment.url, id) for id in ids))
        fit, waiting = submit(deployment, 0), submit(deployment, 1)
        until(lambda: fit.checkpoints)
        deployment.terminate()
        wait_until(lambda: deployment.readiness() == 503)
        nothing_new_begins(deployment)
        engine.resume()
        ended = [one.result() for one in asked]
    assert [one.what for one in ended] == ["image"] * len(EDITS)
    assert [one.images for one in ended] == expected
    assert deployment.wait() == 0
    wait_until(lambda: deployment.strays() == [])
    assert not fit.ended and not waiting.ended
    deployment.up()
    until(lambda: fit.ended and waiting.ended)
    assert repeated_steps(fit.events) == [0]
    assert [event.data["reason"] for event in fit.events if event.kind == "queued"] == ["submitted", "stopped"]
    assert repeated_steps(waiting.events) == []
    check_results(deployment, {fit.id: whole_fit(0), waiting.id: whole_fit(1)})


def nothing_new_begins(deployment: Deployment) -> None:
    """Work is refused with the time after which to ask again; reading goes on."""
    refused = [
        CLIENT.post(deployment.url + GENERATE, json=EDITS[0]),
        CLIENT.post(f"{deployment.url}/v1/fits", **fit_form(0)),
        CLIENT.post(f"{deployment.url}/v1/tails", files={"file": b"no tail"}),
    ]
    assert [answer.status_code for answer in refused] == [503] * len(refused)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert refused[0].json()["error"]["code"] == refused[1].json()["code"] == refused[2].json()["code"] == "draining"
    assert CLIENT.get(f"{deployment.url}/v1/fits").status_code == 200
    assert CLIENT.get(f"{deployment.url}/livez").status_code == 200
