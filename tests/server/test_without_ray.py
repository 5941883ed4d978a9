"""Ray is an extra: nobody loads it who does not ask for it, and whoever asks without having it is told what to do."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from engine import ray_cluster
from engine.server.cli import app


@pytest.mark.parametrize("module", ["engine.server.cli", "engine.server.lifecycle", "engine.cluster"])
def test_a_server_loads_no_ray(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'ray', 'psycopg', 'obstore'}} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["--ray", "--port", "0"])
    assert result.exit_code == 9 and "run: pip install 'hiper[ray]'" in result.stderr
