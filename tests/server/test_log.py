"""Log lines. Oracle: what is said with them, and what must not be."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from engine.server.app import create_app
from engine.server.log import JsonFormatter, PlainFormatter, set_up_logging
from engine.server.services import Services
from tests.server.conftest import HOST


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_plain_lines_name_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("plain")
    logging.getLogger("engine.server.x").info("%d fits", 3)
    line = capsys.readouterr().err
    assert line.endswith("INFO    - engine.server.x: 3 fits\n") and isinstance(
        logging.getLogger().handlers[0].formatter, PlainFormatter
    )


def test_json_lines_are_json_with_a_traceback_of_their_own() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        said = {"name": "x", "levelname": "ERROR", "msg": "a\nb", "exc_info": sys.exc_info()}
    [line] = JsonFormatter().format(logging.makeLogRecord(said)).splitlines()
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("error", "x", "a\nb")
    assert "ValueError: no" in found["traceback"] and found["request_id"] == "-"


def test_a_requests_line_has_its_id_and_never_its_prompt(
    client: TestClient, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    services.settings = services.settings.model_copy(update={"access_log": True})
    logged = TestClient(create_app(services), base_url=f"http://{HOST}")
    logged.portal = client.portal
    with caplog.at_level(logging.INFO):
        logged.get("/livez%0aINFO%20all%20is%20well")
        logged.post(
            "/v1/images/generations?a=secret",
            json={"prompt": "a secret dog", "num_inference_steps": 1},
            headers={"x-request-id": "mine"},
        )
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("engine"))
    assert "POST /v1/images/generations 200" in ours and "secret" not in ours
    owners = [record.owner for record in caplog.records if hasattr(record, "owner")]
    assert owners == ["-", "local"] and ours.splitlines()[-1].endswith(" local")
    assert "GET /livez%0AINFO%20all%20is%20well 404" in ours
