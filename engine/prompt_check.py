"""Whether a prompt leaves room for a tail; needs a tokenizer and no network."""

from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from engine.bundle_files import check_digest
from engine.errors import PromptError
from engine.manifest import Manifest

_START_AND_END: Final = 2


def open_tokenizer(folder: Path, manifest: Manifest) -> Tokenizer:
    """A bundle's tokenizer, CLIP's: it pads to `max_tokens`, and what is longer comes out longer.

    Raises:
        BundleError: it is not the one that the manifest names.
    """
    check_digest(folder, manifest, manifest.tokenizer)
    return Tokenizer.from_file(str(folder / manifest.tokenizer.name))


def check_prompt(prompt: str, tokenizer: Tokenizer, max_tokens: int, tail_tokens: int) -> None:
    """Refuse a prompt that leaves no room for a tail; any thread may ask.

    Args:
        prompt: as it was typed.
        tokenizer: of a bundle.
        max_tokens: rows of a prompt embedding.
        tail_tokens: rows of them that the tail takes.

    Raises:
        PromptError: it is no text, or too long; the message names the limit and the words that do not fit.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"prompt {prompt!r} is no UTF-8 text; type it again") from error
    encoding = tokenizer.encode(prompt)
    found, room = sum(encoding.attention_mask) - _START_AND_END, max_tokens - tail_tokens - _START_AND_END
    if found > room:
        first = prompt.rfind(" ", 0, encoding.offsets[room + 1][0]) + 1
        raise PromptError(
            f"prompt has {found} tokens but {room} fit between its start, its end and a tail of {tail_tokens}; "
            f"leave out {prompt[first:]!r}"
        )
