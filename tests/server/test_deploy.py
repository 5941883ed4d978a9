"""The files of deploy/: what they name exists, and what they set is what the server has."""

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from engine.server.cli import app
from engine.server.settings import Settings
from tests.server.deployed import metric_families

DEPLOY = Path(__file__).parents[2] / "deploy"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    return found


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return shown + [rule["expr"] for rule in alerts()]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_exists(expression: str, tmp_path: Path) -> None:
    families = metric_families(tmp_path)
    labels = {name: {*one.labels, "le", "job", "instance"} for one in families.values() for name in one.samples}
    named = re.findall(r"(hiper_\w+)(?:\{([^}]*)\})?", expression)
    assert named or expression == 'up{job="hiper-serve"} == 0'
    for name, matchers in named:
        assert name in labels
        assert {*re.findall(r"(\w+)(?:=~|=)\"", matchers)} <= labels[name]
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {*grouping.replace(" ", "").split(",")} <= set.union(*(labels[name] for name, _ in named))


def test_every_alert_says_what_is_wrong_and_how_badly() -> None:
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+m", rule.get("for", "0m"))


def test_every_metric_is_on_the_dashboard_and_no_panel_covers_another(tmp_path: Path) -> None:
    shown = {name for expression in expressions() for name in re.findall(r"hiper_\w+", expression)}
    missing = {name for name, one in metric_families(tmp_path).items() if not one.samples & shown}
    assert missing == {"hiper_engine_info"}
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len({*cells}) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_disk_alert_comes_before_the_floor() -> None:
    [rule] = [rule for rule in alerts() if rule["alert"] == "HiPerDiskNearlyFull"]
    assert rule["expr"] == "hiper_disk_free_bytes < 4 * 2^30"
    assert Settings.model_fields["disk_floor_bytes"].default < 4 * 2**30


def test_the_unit_starts_and_ends_the_server_as_it_wants_to_be() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    text = (DEPLOY / "hiper-serve.service").read_text()
    unit.read_string(text)
    service = unit["Service"]
    program, *words = service["ExecStart"].split()
    assert program.endswith("/hiper-serve") and get_command(app).make_context(program, words)
    for name, _ in re.findall(r"\bHIPER_(\w+)=(\S+)", text):
        assert name.lower() in Settings.model_fields
    assert service["KillMode"] == "mixed" and int(service["TimeoutStopSec"]) > Settings.model_fields["drain_s"].default
    assert f"drain_s ({Settings.model_fields['drain_s'].default:g})" in text
