"""The command line: what it says, what it refuses, and the first start."""

import json
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.errors import BundleError
from engine.server import first_bundle
from engine.server.cli import app
from engine.server.first_bundle import find_bundle
from engine.server.folder_store import FolderStore
from engine.server.settings import load_settings
from tests.server.conftest import StartServer
from tests.server.test_images_routes import TAIL

MAKES_A_TOY = """
import sys
from pathlib import Path
from tests.engine.conftest import write_toy_bundle
model, _, folder, force = sys.argv[1:]
assert (model, force) == ("toy/model", "--force")
Path(folder).mkdir()
write_toy_bundle(Path(folder))
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"NO_COLOR": "1", "COLUMNS": "200"})


def test_help_teaches() -> None:
    text = run("--help").output
    for word in (
        "--bundle",
        "--data-dir",
        "keys",
        "backup",
        "check",
        "hiper-serve keys add alice",
        "HIPER_PORT",
        "curl",
    ):
        assert word in text


def test_every_setting_is_an_option_or_named_in_help() -> None:
    text = run("--help").output
    missing = [
        name for name in type(load_settings()).model_fields if name not in text and name.replace("_", "-") not in text
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--port", "99999"], "setting port is 99999"),
        (["--runtime", "cuda"], "is not one of"),
        (["--config", "nowhere.toml"], "nowhere.toml is no file"),
        (["keys", "add", "alice", "--scopes", "edit,root"], "are no scopes"),
        (["keys", "revoke", "key_x"], "is no valid key's id"),
        (["keys", "rotate", "key_x"], "is no valid key's id"),
        (["keys", "adopt", "local", "key_x"], "is no valid key's id"),
    ],
)
def test_wrong_options_are_code_2(arguments: list[str], found: str, data_dir: Path) -> None:
    result = run("--data-dir", data_dir, *arguments)
    assert result.exit_code == 2 and found in " ".join(result.output.replace("│", " ").split())


def test_a_key_is_printed_once_listed_and_revoked(data_dir: Path) -> None:
    added = run("keys", "add", "alice", "--scopes", "edit,fit", "--max-edits", "3", "--data-dir", data_dir)
    token = added.stdout.strip()
    assert added.exit_code == 0 and token.startswith("hiper_") and token not in added.stderr
    with closing(FolderStore(data_dir)) as store:
        key = store.find_key(token)
    assert key is not None
    assert (key.name, key.scopes, key.max_edits) == ("alice", {"edit", "fit"}, 3)
    listed = run("keys", "list", "--data-dir", data_dir).stdout
    assert listed == f"{key.id}  valid  edit,fit  alice\n" and token not in listed
    assert run("keys", "revoke", key.id, "--data-dir", data_dir).exit_code == 0
    [shown] = run("--data-dir", data_dir, "keys", "list", "--json").stdout.splitlines()
    assert json.loads(shown)["revoked_at"] is not None
    assert run("keys", "revoke", key.id, "--data-dir", data_dir).exit_code == 2


def test_a_misspelt_variable_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIPER_DATADIR", "/nowhere")
    assert "HIPER_DATADIR is no setting" in run("keys", "list", "--data-dir", data_dir).stderr


def test_a_key_is_rotated_and_adopts_what_was_there_before(data_dir: Path) -> None:
    with closing(FolderStore(data_dir)) as store:
        store.add_tail("local", "Rex", TAIL)
    token = run("keys", "add", "alice", "--data-dir", data_dir).stdout.strip()
    with closing(FolderStore(data_dir)) as store:
        key = store.find_key(token)
    assert key is not None
    fresh = run("keys", "rotate", key.id, "--data-dir", data_dir).stdout.strip()
    told = run("keys", "adopt", "local", key.id, "--data-dir", data_dir).stdout
    assert told == f"tails: 1, fits: 0; they are {key.id}'s now\n"
    with closing(FolderStore(data_dir)) as store:
        assert store.find_key(token) is None and store.find_key(fresh) == key and store.tails(key.id)


def test_a_backup_is_a_data_folder_and_check_looks_at_it(data_dir: Path, tmp_path: Path) -> None:
    run("keys", "add", "alice", "--data-dir", data_dir)
    result = run("backup", tmp_path / "copy", "--data-dir", data_dir)
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "copy"))
    assert run("check", "--data-dir", tmp_path / "copy").exit_code == 0
    (tmp_path / "copy" / "hiper.db").write_bytes(b"no database")
    damaged = run("check", "--data-dir", tmp_path / "copy")
    assert damaged.exit_code == 16 and damaged.stdout
    assert run("backup", tmp_path / "copy", "--data-dir", data_dir).exit_code == 16


def test_a_backup_is_made_while_a_server_has_the_folder(data_dir: Path, tmp_path: Path) -> None:
    with closing(FolderStore(data_dir)):
        assert run("backup", tmp_path / "copy", "--data-dir", data_dir).exit_code == 0


def test_it_refuses_strangers_without_a_key(data_dir: Path, bundle: Path) -> None:
    result = run("--host", "0.0.0.0", "--bundle", bundle, "--data-dir", data_dir)
    assert result.exit_code == 14
    assert "there is no key; make one with: hiper-serve keys add NAME" in result.stderr


def test_a_taken_port_is_said_before_anything_is_exported(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("--port", taken.getsockname()[1], "--data-dir", data_dir)
    assert result.exit_code == 14 and "name another with --host and --port" in result.stderr
    assert not (data_dir / "bundles").exists()


def test_a_folder_in_use_is_said(data_dir: Path) -> None:
    with closing(FolderStore(data_dir)):
        result = run("--port", "0", "--data-dir", data_dir)
    assert result.exit_code == 16 and "is in use by another hiper-serve" in result.stderr


def test_a_missing_bundle_is_said_with_the_remedy(data_dir: Path, tmp_path: Path) -> None:
    result = run("--bundle", tmp_path / "none", "--port", "0", "--data-dir", data_dir)
    assert result.exit_code == 8 and "hiper-export MODEL -o" in result.stderr


def test_the_first_start_exports_and_later_ones_do_not(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(model="toy/model", data_dir=data_dir)
    monkeypatch.setattr(first_bundle, "_EXPORT", MAKES_A_TOY)
    folder, manifest = find_bundle(settings)
    assert (folder, manifest.model_id) == (data_dir / "bundles" / "toy-model", "toy")
    monkeypatch.setattr(first_bundle, "_EXPORT", "raise SystemExit(1)")
    assert find_bundle(settings) == (folder, manifest)


def test_a_failed_export_says_what_to_try(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_bundle, "_EXPORT", "raise SystemExit(6)")
    with pytest.raises(BundleError, match="ended with 6; see above, and run it by hand: hiper-export menagerie -o"):
        find_bundle(load_settings(data_dir=data_dir))


def test_what_an_export_lacks_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_bundle, "find_spec", lambda name: None if name == "torch" else sys)
    with pytest.raises(BundleError, match=r"needs torch; run: pip install 'hiper\[export\]'"):
        find_bundle(load_settings(data_dir=data_dir))


@pytest.mark.slow
def test_the_first_start_with_a_real_model(start_server: StartServer, sd1_folder: Path) -> None:
    server = start_server("--model", str(sd1_folder), "--no-fits", "--runtime", "onnxruntime")
    assert server.stop() == 0
