"""A tiny model, exported once by the command itself; image sizes are left open."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from hiper.models import StableDiffusion, load_model


@pytest.fixture(scope="session")
def model(sd1_folder: Path) -> StableDiffusion:
    return load_model(sd1_folder)


@pytest.fixture(scope="session")
def exported(sd1_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    arguments = [str(sd1_folder), "-o", str(folder), "--size", "64x64", "--size", "80x64"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder
