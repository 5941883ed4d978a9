"""The choice of a store, and what the command does with one that is shared."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from engine.server.cli import app
from engine.server.folder_store import FolderStore
from engine.server.open_store import open_store
from engine.server.settings import Settings, load_settings
from engine.server.shared_store import SharedStore
from engine.server.store_errors import StoreError
from tests.server.conftest import ROOT, StartServer
from tests.server.shared import PASSWORD, SharedPlace
from tests.server.test_store import TAIL


@pytest.fixture
def shared_settings(shared_place: SharedPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings, and an environment, that name a shared store."""
    monkeypatch.setenv("HIPER_STORE_URL", shared_place.url)
    monkeypatch.setenv("HIPER_IMAGES_URL", shared_place.images_url)
    return load_settings(data_dir=tmp_path / "data")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"NO_COLOR": "1", "COLUMNS": "200"})


def test_the_settings_choose(tmp_path: Path, shared_settings: Settings) -> None:
    alone = load_settings(data_dir=tmp_path / "alone", store_url="", images_url="")
    for settings, kind in ((alone, FolderStore), (shared_settings, SharedStore)):
        with closing(open_store(settings)) as store:
            assert type(store) is kind
        assert settings.data_dir.is_dir()


@pytest.mark.parametrize(("given", "missing"), [("store_url", "images_url"), ("images_url", "store_url")])
def test_half_a_shared_store_is_refused(given: str, missing: str, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, **{given: f"x://{PASSWORD}"})
    with pytest.raises(StoreError, match=f"{given} is set but {missing} is not") as caught:
        open_store(settings)
    assert PASSWORD not in f"{caught.value} {settings!r} {settings.model_dump_json()}"


def test_a_missing_package_is_named(shared_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for module in [name for name in sys.modules if name.startswith("engine.server.")]:
        if "postgres" in module or "shared" in module or "fit_news" in module:
            monkeypatch.delitem(sys.modules, module)
    with pytest.raises(StoreError, match=r"psycopg is not installed; pip install 'hiper\[shared-store\]'"):
        open_store(shared_settings)


def test_a_server_of_its_own_loads_nothing_for_sharing() -> None:
    code = (
        "import sys, engine.server.lifecycle, engine.server.cli, engine.server.data_commands\n"
        "print(sorted({'psycopg', 'obstore', 'ray'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_keys_of_a_shared_store(shared_settings: Settings, shared_place: SharedPlace) -> None:
    token = run("keys", "add", "alice").stdout.strip()
    with closing(shared_place.open()) as store:
        key = store.find_key(token)
        assert key and key.name == "alice"
        assert [json.loads(line)["id"] for line in run("keys", "list", "--json").stdout.splitlines()] == [key.id]
        assert run("keys", "revoke", key.id).exit_code == 0
        assert store.find_key(token) is None


def test_a_shared_store_is_checked_and_saved_elsewhere(
    shared_settings: Settings, shared_place: SharedPlace, tmp_path: Path
) -> None:
    with closing(shared_place.open()) as store:
        tail = store.add_tail("ann", "rex", TAIL, image=store.put_image(b"rex"))
        assert run("check").exit_code == 0
    shared_place.lose(tail.image or "")
    checked = run("check")
    assert (checked.exit_code, checked.stdout) == (StoreError.exit_code, f"picture {tail.image} is missing\n")
    refused = run("backup", tmp_path / "backup")
    assert refused.exit_code == StoreError.exit_code
    assert "a shared store is saved by pg_dump, and by a bucket that keeps versions" in refused.output
    assert not (tmp_path / "backup").exists()


def test_two_servers_are_one(shared_settings: Settings, start_server: StartServer, tmp_path: Path) -> None:
    """What one keeps the other has, at once; one ends, and the other goes on."""
    one, other = (start_server(data_dir=tmp_path / name, ready=False) for name in ("one", "other"))
    added = httpx.post(f"{one.url}/v1/tails", files={"file": ("rex.safetensors", TAIL)}, data={"name": "Rex"})
    assert added.status_code == 201
    [tail] = httpx.get(f"{other.url}/v1/tails").json()["data"]
    assert httpx.get(f"{other.url}/v1/tails/{tail['id']}/content").content == TAIL
    token = run("keys", "add", "alice").stdout.strip()
    for server in (one, other):
        assert httpx.get(f"{server.url}/v1/tails").status_code == 401
        mine = httpx.get(f"{server.url}/v1/tails", headers={"authorization": f"Bearer {token}"})
        assert mine.json()["data"] == []
    assert one.stop() == 0
    assert httpx.get(f"{other.url}/v1/tails").status_code == 401
    assert PASSWORD not in one.log.read_text()
