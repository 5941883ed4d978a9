"""Prompts from outside."""

from collections.abc import Sequence

from hiper.errors import PromptError


def check_prompts(prompts: str | Sequence[str]) -> list[str]:
    """Return one or several prompts as a list.

    Raises:
        PromptError: there is none, or one is empty or no text.
    """
    listed = [prompts] if isinstance(prompts, str) else list(prompts)
    if not listed or not all(prompt.strip() for prompt in listed):
        raise PromptError("prompt is empty but must say what is to be seen; write a few words, like 'a standing dog'")
    for prompt in listed:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise PromptError(f"prompt {prompt!r} is no UTF-8 text; type it again") from error
    return listed
