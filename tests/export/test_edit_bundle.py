"""Oracle: hiper-edit in PyTorch. With a bundle it makes the same files, in a process that has no PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from hiper.cli.edit import app
from hiper.models import StableDiffusion
from hiper.tail import Tail, TailInfo, save

ROOT = Path(__file__).parents[2]
WISHES = ("a dog on a cat", "a cat", "--seeds", "0,7", "--steps", "8", "--negative", "a dog", "--strength", "0.5")
NO_PYTORCH = """
import sys
for name in ("torch", "diffusers", "transformers"):
    sys.modules[name] = None
from hiper.cli.edit import app
app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def rex(model: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tail file."""
    path = tmp_path_factory.mktemp("tail") / "rex.hiper.safetensors"
    vectors = torch.randn(5, model.dim, generator=torch.Generator().manual_seed(1))
    info = TailInfo(model.model_id, model.digest, model.family, model.prediction_type, model.clip_skip, "a dog")
    save(Tail(vectors, torch.zeros(5, model.dim), info), path)
    return path


def hiper_edit(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def difference(first: Path, second: Path) -> int:
    pixels = [np.asarray(Image.open(path)).astype(int) for path in (first, second)]
    assert pixels[0].std() > 10
    return int(np.abs(pixels[0] - pixels[1]).max())


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_both_ways_make_the_same_files(
    rex: Path, sd1_folder: Path, exported: Path, tmp_path: Path, runtime: str
) -> None:
    pytest.importorskip(runtime)
    plain = ("--model", sd1_folder, "--device", "cpu", "--dtype", "fp32", "-o", tmp_path / "torch")
    ours = ("--bundle", exported, "--runtime", runtime, "-o", tmp_path / "bundle")
    called = [hiper_edit(rex, *WISHES, "--sheet", *way, "--json") for way in (plain, ours)]
    assert [result.exit_code for result in called] == [0, 0], called[1].output
    expected, found = (json.loads(result.stdout) for result in called)
    assert found["execution"] == {"bundle": str(exported), "runtime": runtime, "precision": "exact"}
    assert all(found[name] == expected[name] for name in expected.keys() - {"execution", "edits", "drawings", "edit_s"})
    for one, other in zip(expected["edits"], found["edits"], strict=True):
        assert difference(one["path"], other["path"]) <= 2
        assert Image.open(one["path"]).text == Image.open(other["path"]).text != {}
    names = [sorted(path.name for path in (tmp_path / way).iterdir()) for way in ("torch", "bundle")]
    assert names[0] == names[1] and "rex-sheet.png" in names[0]


def test_no_pytorch_is_needed(rex: Path, exported: Path, tmp_path: Path) -> None:
    wishes = ("a dog", "--steps", "2", "--solver", "euler", "--strip", "--sheet", "--no-text", "-o", tmp_path / "out")
    command = [sys.executable, "-c", NO_PYTORCH, rex, *wishes, "--bundle", exported, "--runtime", "onnxruntime"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert [Path(line).name for line in result.stdout.splitlines()] == [
        "rex-a-dog-0.png",
        "rex-sheet.png",
        "rex-strip.png",
    ]
    assert result.stderr.startswith("tiny-sd1 by onnxruntime: it was asked for\nsampled in ")
    assert not Image.open(tmp_path / "out" / "rex-a-dog-0.png").text


@pytest.mark.parametrize(
    ("wish", "code", "words"),
    [
        (("dog " * 71,), 4, "70 fit between its start, its end and a tail of 5; leave out 'dog '"),
        (("a dog", "--runtime", "tensorrt"), 9, "pip install tensorrt cuda-bindings"),
        (("a dog", "--steps", "1000"), 2, "has no 1000 different timesteps below 1000; take fewer"),
    ],
)
def test_refusals(rex: Path, exported: Path, tmp_path: Path, wish: tuple[str, ...], code: int, words: str) -> None:
    result = hiper_edit(rex, "--bundle", exported, "--runtime", "onnxruntime", *wish, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_missing_bundle(rex: Path, tmp_path: Path) -> None:
    result = hiper_edit(rex, "a dog", "--bundle", tmp_path / "none", "-o", tmp_path / "out")
    assert result.exit_code == 8 and "export the bundle again: hiper-export MODEL -o" in result.stderr
    assert not (tmp_path / "out").exists()
