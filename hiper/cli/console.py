"""How a command speaks: messages and errors on stderr, results on stdout, an exit code for every kind of error."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from engine.errors import HiPerError, RuntimeMissingError
from engine.tail_check import OtherCheckpointWarning
from hiper.memory import is_out_of_memory

P = ParamSpec("P")

INTERRUPTED: Final = 130  # as a shell reports Ctrl-C
OUT_OF_MEMORY: Final = 20

# What a minimal installation lacks, and the extra that brings it.
EXTRAS: Final = {
    "torch": "fit",
    "diffusers": "fit",
    "transformers": "fit",
    "huggingface_hub": "fit",
    "onnx": "export",
    "onnxscript": "export",
    "skia": "menagerie",
    "tokenizers": "serve",
}


def messages() -> Console:
    """A console on stderr; it honours NO_COLOR."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Tell the user something that is no result."""
    messages().print(Text(text))


def fail(text: str, exit_code: int) -> NoReturn:
    """End the command with one sentence."""
    messages().print(Text.assemble(("error: ", "bold red"), text))
    raise typer.Exit(exit_code)


def print_results(paths: Sequence[Path], facts: Mapping[str, Any], as_json: bool) -> None:
    """Print one path a line, or all facts as one JSON object."""
    typer.echo(json.dumps(facts, indent=2, default=str) if as_json else "\n".join(map(str, paths)))


def reporting(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into a sentence and an exit code; a bug keeps its traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _warnings_as_messages():
                command(*args, **kwargs)
        except HiPerError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt as stop:
            fail(str(stop) or "stopped", INTERRUPTED)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            remedy = f"run: pip install 'hiper[{EXTRAS[error.name]}]'"
            fail(f"{error.name} is not installed but this command needs it; {remedy}", RuntimeMissingError.exit_code)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            remedy = "use a smaller model, or half precision: --dtype bf16 or fp16, or a bundle of --precision fp16"
            fail(f"the memory is too small for this; {remedy}", OUT_OF_MEMORY)

    return run


@contextmanager
def _warnings_as_messages() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if issubclass(category, OtherCheckpointWarning):
            messages().print(Text.assemble(("warning: ", "bold yellow"), str(message)))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
