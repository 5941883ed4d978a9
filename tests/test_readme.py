"""What the README shows is run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from diffusers import StableDiffusionPipeline
from PIL import Image

import hiper
from benchmarks import cli as bench
from engine.bulk import cli as bulk
from engine.errors import HiPerError
from engine.server import cli as serve
from export import cli as export
from export.triton import cli as triton
from hiper.cli import doctor, edit, fit

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = {
    "hiper-fit": fit.app,
    "hiper-edit": edit.app,
    "hiper-doctor": doctor.app,
    "hiper-export": export.app,
    "hiper-triton": triton.app,
    "hiper-serve": serve.app,
    "hiper-bench": bench.app,
    "hiper-bulk": bulk.app,
}


def block(containing: str) -> str:
    """The one block of Python with these words."""
    [found] = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if containing in text]
    return found


@pytest.mark.parametrize("line", re.findall(r"^hiper-\w+.*$", README, re.MULTILINE))
def test_commands_are_understood(line):
    name, *arguments = shlex.split(line, comments=True)
    command = typer.main.get_command(COMMANDS[name])
    if arguments[:1] and arguments[0] in getattr(command, "commands", {}):
        name, *arguments = arguments
        command = command.commands[name]
    assert command.make_context(name, arguments).params


def test_python_examples_work(sd1_folder, tmp_path, monkeypatch):
    model = hiper.HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")
    model.recipe = type(model.recipe)(steps=2, num_inference_steps=2)
    monkeypatch.setattr(hiper.HiPer, "from_pretrained", lambda name: model)
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((64, 64), 80).convert("RGB").save("rex.jpg")
    exec(block("HiPer.from_pretrained"), made := {})
    assert len(made["pictures"]) == 4 and Path("sitting.png").exists()

    pipe = StableDiffusionPipeline.from_pretrained(sd1_folder)
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(5)
    lines = block("prompt_embeds=")
    assert lines.count("\n") == 3
    exec(lines, shown := {"pipe": pipe, "hiper": hiper})
    torch.manual_seed(5)
    generator = torch.default_generator
    ours = model.edit(made["tail"], "a sitting dog", generator=generator, num_inference_steps=50)[0]
    difference = np.asarray(shown["image"]).astype(int) - np.asarray(ours)
    assert np.asarray(ours).std() > 10 and np.abs(difference).max() <= 1


def test_every_exit_code_is_listed():
    def codes(kind):
        return {kind.exit_code}.union(*map(codes, kind.__subclasses__()))

    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE)
    listed = {int(code) for row in rows for code in row.split(",")}
    assert {code for code in codes(HiPerError) if code > 1} <= listed
