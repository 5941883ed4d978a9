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


def test_takes_the_options_of_a_bundle_that_is_there(sd1_folder: Path, exported: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    assert run(sd1_folder, "-o", small, "--size", "32x48", "--keep-fp32", "unet").exit_code == 0
    checked = run(sd1_folder, "-o", small, "--check")
    assert checked.exit_code == 0 and "Polygraphy agrees" in checked.stderr
    assert run(sd1_folder, "-o", small, "--size", "32x48", "--precision", "fp32", "--check").exit_code == 0


@pytest.mark.parametrize(
    ("option", "anew"),
    [
        (["--size", "32x48"], "--precision=fp32 --size=32x48"),
        (["--precision", "fp16"], "--precision=fp16 --size=64x64 --size=80x64"),
        (["--keep-fp32", "unet"], "--precision=fp32 --size=64x64 --size=80x64 --keep-fp32=unet"),
    ],
)
def test_refuses_other_options_than_a_bundle_was_made_with(
    sd1_folder: Path, exported: Path, option: list[str], anew: str
) -> None:
    result = run(sd1_folder, "-o", exported, "--check", *option)
    assert result.exit_code == 8
    assert result.stderr == (
        f"error: {exported} was made with --precision=fp32 --size=64x64 --size=80x64; leave out what differs, "
        f"or make it anew with: hiper-export {sd1_folder} {anew} -o {exported} --force\n"
    )


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
        (["--rows", "1"], "--rows is for plans; add --tensorrt"),
        (["--workspace-gib", "1"], "--workspace-gib is for plans; add --tensorrt"),
        (["--tensorrt", "--rows", "3"], "rows are 3; use some of 1, 2, 4, 8, 16, 32"),
    ],
)
def test_explains_a_mistyped_option(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("menagerie", "-o", tmp_path / "bundle", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
