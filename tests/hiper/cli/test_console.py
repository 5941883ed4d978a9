"""What a command raises becomes one sentence and an exit code, and colour only where it is wanted."""

import os
import subprocess
import sys
import warnings
from typing import get_args

import pytest
import typer

from engine import runtimes, schedule
from engine.tail_check import OtherCheckpointWarning
from hiper import execution, images, recipe
from hiper.cli import fit, options
from hiper.cli.console import OUT_OF_MEMORY, reporting
from hiper.errors import HiPerError


def end_of(error, capsys):
    @reporting
    def command():
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    return caught.value.exit_code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (HiPerError("[bold]a file[/bold] is odd"), 1, "error: [bold]a file[/bold] is odd\n"),
        (KeyboardInterrupt(), 130, "error: stopped\n"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            9,
            "error: torch is not installed but this command needs it; run: pip install 'hiper[fit]'\n",
        ),
        (
            RuntimeError("CUDA out of memory. Tried"),
            OUT_OF_MEMORY,
            "error: the memory is too small for this; use a smaller model, or half",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            OUT_OF_MEMORY,
            "error: the memory is too small for this; use a smaller model, or half",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            OUT_OF_MEMORY,
            "error: the memory is too small for this; use a smaller model, or half",
        ),
        (MemoryError(), OUT_OF_MEMORY, "error: the memory is too small for this; use a smaller model, or half"),
    ],
)
def test_errors_become_sentences(error, code, message, capsys):
    found, text = end_of(error, capsys)
    assert found == code and text.startswith(message) and text.count("\n") == 1


@pytest.mark.parametrize("bug", [RuntimeError("shapes differ"), ModuleNotFoundError("no", name="x"), KeyError("x")])
def test_a_bug_keeps_its_traceback(bug):
    @reporting
    def command():
        raise bug

    with pytest.raises(type(bug)) as caught:
        command()
    assert caught.value is bug


def test_only_warnings_that_concern_the_user_are_shown(capsys):
    @reporting
    def command():
        warnings.warn("deprecated in 3.0", FutureWarning, stacklevel=1)
        warnings.warn("tail is of a sister", OtherCheckpointWarning, stacklevel=1)

    command()
    assert capsys.readouterr().err == "warning: tail is of a sister\n"


@pytest.mark.parametrize("colour", [True, False])
def test_no_color_is_honoured(colour, tmp_path):
    environment = {**os.environ, "FORCE_COLOR": "1"} | ({} if colour else {"NO_COLOR": "1"})
    if colour:
        environment.pop("NO_COLOR", None)
    program = "from hiper.cli.console import fail\nfail('odd', 5)"
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ("\x1b[1;31m" in result.stderr) == colour and "odd" in result.stderr


def test_help_has_examples_and_loads_no_pytorch():
    program = "import sys\nfrom hiper.cli.fit import app\ntry: app(['--help'])\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'hiper-fit rex.jpg "a standing dog" -o rex' in result.stdout
    assert result.stdout.endswith("False\n") and result.returncode == 0


def test_choices_are_those_of_the_method():
    assert get_args(options.Attention) == get_args(execution.Attention)
    assert get_args(options.Dtype) == get_args(execution.Dtype)
    assert get_args(options.Crop) == get_args(images.Crop)
    assert get_args(options.Solver) == get_args(schedule.Solver)
    assert get_args(options.Precision) == get_args(runtimes.Precision)
    assert get_args(options.Runtime) == ("auto", *runtimes.RUNTIMES)
    assert set(get_args(options.Preset)) == recipe.PRESETS.keys()
    assert set(get_args(options.Subject)) == recipe.TAIL_TOKENS.keys()
    assert fit.app.registered_commands
