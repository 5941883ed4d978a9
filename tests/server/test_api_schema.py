"""Promise 5: whatever is asked, the answer is one that /openapi.json announces, and never a failure of the server.

Schemathesis makes the requests, by the schema and against it, and checks the answers in every way it knows.
`HIPER_API_EXAMPLES` says how many requests of each kind an operation gets; `--slow` makes thousands.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import BlockingPortal
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from schemathesis.transport.serialization import Binary

from engine.server.app import create_app
from engine.server.edit_client import EditClient
from engine.server.metrics import Metrics
from engine.server.settings import Settings
from tests.server.serving import assembled, serving
from tests.server.test_images_routes import TAIL, b64, picture

EXAMPLES = int(os.environ.get("HIPER_API_EXAMPLES", "8"))
MANY = int(os.environ.get("HIPER_API_EXAMPLES", "150"))

# A schema cannot tell a picture from other bytes, how many tokens a prompt has, or that two fields contradict each
# other: requests that follow the schema may be refused for that, but for nothing else.
BEYOND_A_SCHEMA = ["2xx", "400", "404", "409", "413", "415", "422"]
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": BEYOND_A_SCHEMA},
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "507"]},
}
API = schemathesis.openapi.from_dict(
    # The schema needs no parts that run.
    create_app(SimpleNamespace(settings=Settings(), metrics=Metrics())).openapi(),  # type: ignore[arg-type]
    config=SchemathesisConfig.from_dict({"checks": CHECKS}),
)

# What this server may lack, and what contradicts other fields.
CHANCY = {"tail", "model", "size", "output_compression", "partial_images", "negative_prompt", "steps", "seed"}
MAKING = API.include(method="POST", path_regex="^/v1/(images/.*|tails|fits)$")


def asked(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def url(
    bundle: Path, edits: EditClient, portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder, room = tmp_path_factory.mktemp("api"), {"max_queued_fits": 10_000, "max_fits_per_owner": 10_000}
    with assembled(folder, bundle, edits, portal, **room) as services, serving(services, portal) as url:
        yield url


@API.parametrize()
@asked(EXAMPLES)
def test_any_request_gets_an_announced_answer(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url)


@MAKING.parametrize()
@asked(EXAMPLES)
def test_request_that_can_be_met_is_met(case: schemathesis.Case, url: str) -> None:
    if not case.meta.generation.mode.is_positive:
        return
    case.body = possible(case.body, case.path)
    case.headers.pop("idempotency-key", None)
    # Schemathesis takes the files that were put in for something that breaks the schema.
    answer = case.call_and_validate(base_url=url, excluded_checks=[negative_data_rejection])
    assert answer.status_code in (200, 201, 202)


@pytest.mark.slow
@API.parametrize()
@asked(MANY)
def test_thousands_of_requests_get_announced_answers(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url)


@pytest.mark.slow
def test_requests_about_what_other_requests_made(url: str) -> None:
    class Machine(API.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": url}

    Machine.run(settings=asked(MANY))


def possible(body: dict[str, Any], path: str) -> dict[str, Any]:
    """A body that follows the schema, made one that this server can meet."""
    body = {name: value for name, value in body.items() if value is not None and name not in CHANCY}
    if "/images/" not in path:
        return body | (
            {"file": Binary(TAIL)} if path == "/v1/tails" else {"image": Binary(picture()), "learning_rate": 0.1}
        )
    if "guidance_interval" in body:
        body["guidance_interval"] = sorted(body["guidance_interval"])
    tail = Binary(TAIL) if path.endswith("edits") else b64(TAIL)
    return body | {"prompt": "a dog", "tail_file": tail, "num_inference_steps": 2}
