"""What docs/serving.md says: its tables against the code, its commands against a server."""

import base64
import inspect
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import typer.main
from anyio.from_thread import BlockingPortal
from pydantic import ByteSize

from engine.server import decode_process, edit_requests
from engine.server.body_limit import LARGEST_AT_ONCE, LARGEST_PER_KEY, MAX_JSON_BYTES
from engine.server.cli import app
from engine.server.edit_client import EditClient
from engine.server.folder_store import FolderStore
from engine.server.http_protocol import LEAST_BYTES, SPARE, STALLED_S
from engine.server.image_requests import ImageOptions
from engine.server.limits import STREAMS
from engine.server.settings import Settings
from engine.server.uploads import UploadLimits
from engine.tail_file import MAX_SIZE_BYTES
from tests.server.deployed import metric_families
from tests.server.serving import assembled, serving
from tests.server.test_images_routes import TAIL, picture

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "serving.md").read_text()


def section(title: str) -> str:
    """The text of a chapter."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """Cells of the table of a chapter, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def as_written(value: Any) -> str:
    if isinstance(value, ByteSize):
        return value.human_readable(separator=" ").replace(".0", "")
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, Path):
        return str(value).replace(str(Path.home()), "~")
    return "none" if value is None else str(int(value)) if isinstance(value, float) else str(value) or "none"


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {name.strip("`"): default for name, default, _ in rows("Settings and limits")}
    assert listed == {name: as_written(field.default) for name, field in Settings.model_fields.items()}


def test_what_is_fixed_is_told_as_it_is() -> None:
    words, uploads = " ".join(section("Settings and limits").split()), UploadLimits()
    keys = inspect.signature(FolderStore.add_key).parameters
    edits, minute, fits = (keys[name].default for name in ("max_edits", "edits_per_minute", "max_fits"))
    prompt = next(one for one in ImageOptions.model_fields["prompt"].metadata if hasattr(one, "max_length"))
    assert f"a key has {edits} edits under way, {minute} a minute and {fits} fits" in words
    memory = f"{uploads.memory_bytes // 2**20} MiB"
    assert f"Decoding an upload gets {uploads.timeout_s:g} s, {uploads.cpu_s} s of CPU and {memory}" in words
    assert f"Tail files end at {MAX_SIZE_BYTES // 2**20} MiB, prompts of edits at {prompt.max_length} char" in words
    assert f"remembered for {edit_requests.KEPT_S / 3600:g} h" in words
    assert f"may have {LARGEST_AT_ONCE} times this, those of one key {LARGEST_PER_KEY} times" in words
    assert f"what is no form ends at {MAX_JSON_BYTES // 2**20} MiB" in words
    assert f"less than {LEAST_BYTES // 2**10} KiB is taken in {STALLED_S:g} s" in words
    assert f"at most {STREAMS} streams" in words and f"over {SPARE} more" in words
    assert all(
        kind.replace("WEBP", "WebP") in section("Security: what is refused, and why") for kind in decode_process.FORMATS
    )


def test_every_metric_is_listed_with_its_type_and_labels(tmp_path: Path) -> None:
    listed = {name.strip("`"): (kind, labels) for name, kind, labels, _ in rows("Metrics")}
    assert listed == {name: (one.type, ", ".join(one.labels)) for name, one in metric_families(tmp_path).items()}


def test_the_data_folder_is_as_described(tmp_path: Path) -> None:
    FolderStore(tmp_path / "data").close()
    described = {name.split("`")[1].strip("/") for name, *_ in rows("Data, backup, restore")}
    assert {path.name for path in (tmp_path / "data").iterdir()} <= described


def test_every_promise_names_tests_that_exist() -> None:
    promises = rows("Promises")
    assert [promise[0] for promise, _ in promises] == [*"1234567"]
    for _, tests in promises:
        named = re.findall(r"`(tests/[^`]+)`", tests)
        assert all((ROOT / path).is_file() for path in named) and (named or tests == "nothing yet")


@pytest.mark.parametrize("line", re.findall(r"^    (hiper-serve.*?)(?:  +#.*)?$", TEXT, re.MULTILINE))
def test_commands_are_understood(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = line.split()[1:]
    while True:
        context = command.make_context("hiper-serve", [*words])
        rest = [*context._protected_args, *context.args]
        if not rest or not hasattr(command, "commands"):
            return
        command, words = command.commands[rest[0]], rest[1:]


@pytest.fixture
def server(
    bundle: Path, edits: EditClient, portal: BlockingPortal, tmp_path: Path
) -> Iterator[tuple[str, dict[str, str]]]:
    """Its address and what the examples call KEY and TAIL; fits are accepted, and nobody runs them."""
    with assembled(tmp_path / "data", bundle, edits, portal) as services, serving(services, portal) as url:
        key, token = services.store.add_key("alice")
        yield url, {"KEY": token, "TAIL": services.store.add_tail(key.id, "Rex", TAIL).id}


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_examples_work(server: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    url, names = server
    (tmp_path / "rex.jpg").write_bytes(picture())
    (tmp_path / "rex.hiper.safetensors").write_bytes(TAIL)
    shell = re.search(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    assert shell
    commands = re.findall(r"^curl (?:.*\\\n)*.*$", shell[1], re.MULTILINE)
    # Events of a fit that nobody runs end with its cancellation.
    commands.sort(key=lambda command: "/events" in command)
    answers = {}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"{command} -sS -m 60 -w '\\n%{{http_code}}'"],
            cwd=tmp_path,
            env=os.environ | names | {"HIPER": url},
            capture_output=True,
            text=True,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        answers[command.split("$HIPER")[1].split()[0]] = (status, body)
        if command.endswith('prompt="a standing dog"'):
            names["FIT"] = re.findall(r"fit_[\w-]{20}", body)[0]
    statuses = {path: status for path, (status, _) in answers.items()}
    assert statuses.pop("/v1/fits") == "202" and statuses.pop("/v1/images/edits") == "409"
    assert {*statuses.values()} <= {"200", "201"}, answers
    assert "event: cancelled" in answers["/v1/fits/$FIT/events"][1]
    assert "event: image_generation.partial_image" in answers["/v1/images/generations"][1]
    assert (tmp_path / "copy.hiper.safetensors").read_bytes() == TAIL


def test_the_openai_example_works(server: tuple[str, dict[str, str]]) -> None:
    url, names = server
    shown = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert shown
    code = shown[1].replace("http://127.0.0.1:8910", url).replace("tail_...", names["TAIL"])
    exec(code.replace("hiper_...", names["KEY"]), made := {"base64": base64, "openai": openai})
    assert len(made["pictures"]) == 2 and all(file.startswith(b"\x89PNG") for file in made["pictures"])  # type: ignore[attr-defined]
    made["client"].close()  # type: ignore[attr-defined]
