"""The command line around the export: what it prints, refuses and asks for."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from export.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_checks_a_bundle_that_is_there(sd1_folder: Path, exported: Path) -> None:
    result = run(sd1_folder, "-o", exported, "--check")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{exported}\n"
    assert "unet: 1.3 MiB in fp32, " in result.stderr
    assert "Polygraphy agrees about the text_encoder in onnxruntime, unet in onnxruntime, " in result.stderr


def test_does_not_touch_a_bundle_unasked(sd1_folder: Path, exported: Path) -> None:
    result = run(sd1_folder, "-o", exported)
    assert result.exit_code == 7
    assert f"{exported} exists already; choose another folder, or replace it with --force" in result.stderr


def test_asks_for_tensorrt_before_the_work(sd1_folder: Path, tmp_path: Path) -> None:
    result = run(sd1_folder, "-o", tmp_path / "bundle", "--tensorrt")
    assert result.exit_code == 9
    assert "pip install tensorrt cuda-bindings" in result.stderr


def test_refuses_a_bundle_of_another_model(sd2_folder: Path, exported: Path) -> None:
    result = run(sd2_folder, "-o", exported, "--check")
    assert result.exit_code == 8
    assert "is a bundle of tiny-sd1 with clip_skip 0, not of this tiny-sd2 with 0" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "512"], "'512' is no size; write HEIGHTxWIDTH in pixels, like 512x768"),
        (["--keep-fp32", "vae"], "there is no network vae; there are text_encoder, unet, decoder, encoder"),
        (["--tensorrt", "--rows", "3"], "rows are 3; use some of 1, 2, 4, 8, 16, 32"),
    ],
)
def test_explains_a_mistyped_option(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("menagerie", "-o", tmp_path / "bundle", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
