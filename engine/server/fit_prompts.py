"""Whether the prompt of a fit leaves room for its tail, told when it is submitted and not when a worker begins."""

from functools import cached_property
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from engine.manifest import Manifest
from engine.prompt_check import check_prompt, open_tokenizer
from engine.server.messages import FitSettings

# What the worker takes for each subject; `hiper.recipe` has the same.
TAIL_TOKENS: Final = {"animal": 5, "object": 5, "person": 10}


class FitPrompts:
    """Checks with the tokenizer of a bundle, which is the one of its model.

    Args:
        folder: of the bundle.
        manifest: its manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest

    def check(self, settings: FitSettings) -> None:
        """Refuse what the worker would refuse.

        Raises:
            PromptError: the prompt is too long.
        """
        check_prompt(settings.prompt, self._tokenizer, self._manifest.max_tokens, TAIL_TOKENS[settings.subject])

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self._folder, self._manifest)
