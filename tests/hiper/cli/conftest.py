"""One picture, one fitted tail, and a way to call each command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from typer.testing import CliRunner

from hiper.cli import edit, fit

PLAIN = ("--device", "cpu", "--dtype", "fp32")


class Called(NamedTuple):
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def paths(self) -> list[Path]:
        """The results, one a line."""
        return [Path(line) for line in self.stdout.splitlines()]


Call = Callable[..., Called]


def call(app: Any, *arguments: object) -> Called:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Called(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def hiper_fit() -> Call:
    return lambda *arguments: call(fit.app, *PLAIN, *arguments)


@pytest.fixture(scope="session")
def hiper_edit() -> Call:
    return lambda *arguments: call(edit.app, *PLAIN, "--steps", 2, *arguments)


@pytest.fixture(scope="session")
def rex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture file."""
    path = tmp_path_factory.mktemp("pictures") / "rex.png"
    Image.effect_noise((70, 64), 80).convert("RGB").save(path)
    return path


@pytest.fixture(scope="session")
def fitted(rex: Path, sd1_folder: Path, hiper_fit: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tail file of a short fit, with its snapshots beside it."""
    folder = tmp_path_factory.mktemp("fitted")
    options = ("--model", sd1_folder, "--preset", "paper", "--steps", 4, "--snapshots-every", 2, "-o", folder)
    assert hiper_fit(rex, "a standing dog", *options).exit_code == 0
    return folder / "rex.hiper.safetensors"
