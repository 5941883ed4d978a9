"""Oracle: the toy tokenizer makes one token of a word."""

from pathlib import Path

import pytest

from engine.bundle_files import read_manifest
from engine.errors import PromptError
from engine.prompt_check import check_prompt, open_tokenizer


def test_a_prompt_may_fill_the_rows_before_the_tail_and_no_more(toy_bundle: Path) -> None:
    tokenizer = open_tokenizer(toy_bundle, read_manifest(toy_bundle))
    check_prompt(" ".join(["dog"] * 70), tokenizer, 77, tail_tokens=5)
    with pytest.raises(PromptError, match=r"prompt has 71 tokens but 70 fit .* a tail of 5; leave out 'cat'"):
        check_prompt(" ".join(["dog"] * 70 + ["cat"]), tokenizer, 77, tail_tokens=5)
    check_prompt(" ".join(["dog"] * 75), tokenizer, 77, tail_tokens=0)
    with pytest.raises(PromptError, match="is no UTF-8 text; type it again"):
        check_prompt("\ud800", tokenizer, 77, tail_tokens=0)
