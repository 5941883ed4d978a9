"""How the command speaks: results on stdout, messages on stderr, an exit code for every kind of error."""

import functools
from collections.abc import Callable
from typing import Final, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from engine.errors import HiPerError
from engine.server.settings import SettingsError

P = ParamSpec("P")

INTERRUPTED: Final = 130  # as a shell reports Ctrl-C


def fail(text: str, exit_code: int) -> NoReturn:
    """End the command with one sentence."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), text))
    raise typer.Exit(exit_code)


def reporting(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into a sentence and an exit code; a bug keeps its traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SettingsError as error:
            raise typer.BadParameter(str(error)) from error
        except HiPerError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("stopped", INTERRUPTED)

    return run
