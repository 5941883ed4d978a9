"""The images: hadolint's rules, and what is named in them exists, with the meaning that the server gives it."""

import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from typer.main import get_command

from engine.runtimes import RUNTIMES
from engine.server import data_commands
from engine.server.cli import app
from engine.server.routes import system
from engine.server.settings import Settings, load_settings
from tests.deploy.dockerfile import DOCKER, ROOT, comment_of, read_stages

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGES = ("cpu", "cuda")


def requirements(extras: str) -> set[str]:
    """Names of all packages that extras bring, those of other extras included."""
    found = set()
    for extra in extras.split(","):
        for requirement in PROJECT["project"]["optional-dependencies"][extra]:
            nested = re.fullmatch(r"hiper\[(.+)\]", requirement)
            found |= requirements(nested[1]) if nested else {re.split(r"[\[<>=~; ]", requirement)[0]}
    return found


def extras(image: str) -> str:
    [install] = [text for text in read_stages()[f"installed-{image}"].all("RUN") if "pip install" in text]
    return re.search(r"'\.\[([\w,-]+)\]'", install)[1]  # type: ignore[index]


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_image_stands_on_a_pinned_base_and_the_last_is_for_cpus() -> None:
    stages = read_stages()
    assert {stage.base for stage in stages.values()} == {stages["runtime"].base}
    version = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", stages["cpu"].base)
    assert version and PROJECT["project"]["requires-python"] == f">={version[1]}"
    assert [*stages][-1] == "cpu"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_and_starts_what_is_installed(image: str) -> None:
    stage = read_stages()[image]
    names = [name for name, _ in stage.instructions]
    assert stage.last("USER") == "10001:10001" and "RUN" not in names[names.index("USER") :]
    assert "--uid 10001" in stage.last("RUN")
    assert stage.words("ENTRYPOINT") == ["hiper-serve"] and "hiper-serve" in PROJECT["project"]["scripts"]
    assert stage.last("COPY") == f"--from=installed-{image} /opt/hiper /opt/hiper"
    assert stage.environment["PATH"].startswith("/opt/hiper/bin:")


@pytest.mark.parametrize("image", IMAGES)
def test_the_server_takes_the_settings_of_an_image(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = read_stages()[image]
    given = {name: value for name, value in stage.environment.items() if name.startswith("HIPER_")}
    assert {name.removeprefix("HIPER_").lower() for name in given} <= Settings.model_fields.keys()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.host, settings.metrics_host, settings.runtime in RUNTIMES) == ("0.0.0.0", "0.0.0.0", True)
    assert stage.last("VOLUME") == str(settings.data_dir) and settings.bundle == Path("/bundle")
    assert settings.fits == ("torch" in requirements(extras(image)))
    assert stage.last("EXPOSE") == f"{settings.port} {settings.metrics_port}"
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        assert Path(stage.environment[name]).is_relative_to(settings.data_dir)


def test_extras_bring_what_an_image_is_for() -> None:
    serving = {"fastapi", "openvino", "ray", "psycopg", "obstore"}
    assert serving <= requirements(extras("cpu")) and serving | {"torch", "tensorrt"} <= requirements(extras("cuda"))
    assert not {"torch", "diffusers", "transformers"} & requirements(extras("cpu"))


def test_an_image_is_healthy_when_the_server_is_ready() -> None:
    program, option, code = read_stages()["cpu"].words("HEALTHCHECK")
    assert (program, option) == ("python", "-c")
    assert f"'http://127.0.0.1:{Settings.model_fields['port'].default}/readyz'" in code
    compile(code, "health", "exec")
    assert "/readyz" in {route.path for route in system.router.routes if isinstance(route, APIRoute)}


def test_the_build_gets_all_that_it_needs_and_no_records() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert kept == {
        *PROJECT["tool"]["scikit-build"]["wheel"]["packages"],
        *PROJECT["project"]["license-files"],
        *("pyproject.toml", "constraints.txt", "CMakeLists.txt"),
    }
    assert all((ROOT / name).exists() for name in kept)
    dropped = [line for line in lines if line and not line.startswith(("!", "#"))]
    assert dropped[0] == "*" and "benchmarks/records" in dropped and any(fnmatch("a/x.so", line) for line in dropped)


def test_the_commands_in_its_head_are_those_that_there_are() -> None:
    head = comment_of(DOCKER / "Dockerfile")
    for words in map(shlex.split, re.findall(r"docker build (.+)", head)):
        assert (ROOT / words[words.index("-f") + 1]).is_file()
        image = words[words.index("-t") + 1].removeprefix("hiper:")
        assert image == "cpu" or words[words.index("--target") + 1] == image
    [arguments] = re.findall(r"docker run --rm -v hiper:/data hiper:cpu (.+)", head)
    keys, add, name = shlex.split(arguments)
    assert (keys, name) == ("keys", "alice") and add in get_command(data_commands.keys).commands  # type: ignore[attr-defined]
    assert "keys" in get_command(app).commands  # type: ignore[attr-defined]
    [patience_s] = re.findall(r"--stop-timeout (\d+)", head)
    assert int(patience_s) > Settings.model_fields["drain_s"].default
