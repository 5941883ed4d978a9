"""What docs/scaling.md names exists: commands with their options, settings, files, extras."""

import re
import shlex
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from typer.main import get_command

from engine.bulk.cli import app as bulk
from engine.server.cli import app as serve
from engine.server.settings import Settings
from export.triton.cli import app as triton
from tests.deploy.dockerfile import ROOT, read_stages

TEXT = (ROOT / "docs" / "scaling.md").read_text()
COMMANDS = {"hiper-serve": get_command(serve), "hiper-bulk": get_command(bulk), "hiper-triton": get_command(triton)}
LINES = [line.strip() for line in re.findall(r"^    (\S.*)$", TEXT, re.MULTILINE)]


def ours() -> list[list[str]]:
    words = [shlex.split(re.sub(r"\s{3,}.*", "", line), comments=True) for line in LINES]
    return [
        [word for word in line if not re.match(r"[A-Z_]+=", word)] for line in words if {*line[:2]} & COMMANDS.keys()
    ]


@pytest.mark.parametrize("words", ours(), ids=" ".join)
def test_every_command_takes_its_options(words: list[str]) -> None:
    command: Any = COMMANDS[words[0]]
    rest = words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("-")} <= known


def test_modules_have_their_options() -> None:
    for line in LINES:
        if found := re.match(r"python -m (\S+)(.*)", line):
            done = subprocess.run([sys.executable, "-m", found[1], "--help"], capture_output=True, text=True, cwd=ROOT)
            assert all(option in done.stdout for option in re.findall(r"--[\w-]+", found[2])), line


def test_files_settings_extras_and_images_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    named = re.findall(r"`((?:deploy|tests|engine|benchmarks)/[\w./-]+)`", TEXT)
    assert all((ROOT / "docs" / path).exists() for path in links) and all((ROOT / path).exists() for path in named)
    assert {name.lower() for name in re.findall(r"HIPER_(\w+)=", TEXT)} <= Settings.model_fields.keys()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for found in re.findall(r"'hiper\[(.+?)\]'", TEXT) for extra in found.split(",")} <= extras.keys()
    assert {*re.findall(r"`hiper:(\w+)`", TEXT)} <= read_stages().keys()
