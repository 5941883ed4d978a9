"""`hiper-triton`: what it prints, replaces, refuses and leaves behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from export.triton.cli import app
from export.triton.repository import lay_out


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_prints_the_repository(exported: Path, tmp_path: Path) -> None:
    result = run(exported, "-o", tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'models'}\n"
    assert "unet: onnxruntime_onnx, up to 32 rows in a call" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_reports_how_far_it_is(exported: Path, tmp_path: Path) -> None:
    reports: list[tuple[str, float]] = []
    lay_out(exported, tmp_path / "models", report=lambda what, done: reports.append((what, done)))
    assert [what for what, _ in reports] == [
        "copying the text_encoder",
        "copying the unet",
        "copying the decoder",
        "copying the encoder",
        "done",
    ]
    assert [done for _, done in reports] == sorted(done for _, done in reports)
    assert (reports[0][1], reports[-1][1]) == (0, 1)


def test_replaces_only_when_told(exported: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert run(exported, "-o", models).exit_code == 0
    (models / "unet" / "config.pbtxt").write_text("mine")
    result = run(exported, "-o", models)
    assert result.exit_code == 7
    assert f"{models} exists already; choose another folder, or replace it with --force" in result.stderr
    assert (models / "unet" / "config.pbtxt").read_text() == "mine"
    assert run(exported, "-o", models, "--force").exit_code == 0
    assert (models / "unet" / "config.pbtxt").read_text() != "mine"


def test_never_replaces_other_models(exported: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert run(exported, "-o", models).exit_code == 0
    (models / "resnet").mkdir()
    result = run(exported, "-o", models, "--force")
    assert result.exit_code == 7
    assert f"{models} is no repository of these models alone, --force replaces nothing else" in result.stderr
    assert (models / "resnet").is_dir()


def test_an_altered_file_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    with open(bundle / "encoder.onnx", "r+b") as file:
        file.write(b"!")
    result = run(bundle, "-o", tmp_path / "models")
    assert result.exit_code == 8
    assert (
        "encoder.onnx is not the file that was exported, its digest differs; mend it with: hiper-export"
        in result.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_interruption_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    def stop(what: str, done: float) -> None:
        if what == "copying the decoder":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lay_out(exported, tmp_path / "models", report=stop)
    assert not list(tmp_path.iterdir())


def test_says_which_plans_there_are(exported: Path, tmp_path: Path) -> None:
    result = run(exported, "-o", tmp_path / "models", "--tensorrt", "10.14.1.48")
    assert result.exit_code == 8
    assert (
        "has plans of the text_encoder for TensorRT none, not for 10.14.1.48; with that TensorRT run: " in result.stderr
    )


def test_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    result = run(tmp_path, "-o", tmp_path / "models")
    assert result.exit_code == 8
    assert "manifest.json cannot be read" in result.stderr


def test_needs_no_pytorch() -> None:
    code = "import sys, export.triton.cli; print(sorted({'torch', 'onnx', 'diffusers'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
