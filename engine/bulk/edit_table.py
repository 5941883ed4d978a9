"""Tables of edits, checked against the bundle that is to make them."""

from functools import lru_cache
from pathlib import Path
from typing import Final

from engine.bulk.rows import EditRow, Task, file_digest, read_rows
from engine.edit_request import EditRequest
from engine.manifest import Manifest
from engine.prompt_check import open_tokenizer
from engine.request_check import check_request
from engine.tail_file import TailFile, read_tail_file

_TAILS_AT_ONCE: Final = 64  # one has up to 4 MiB, and a table may name any number


def read_edits(path: Path, bundle: Path, manifest: Manifest, tail: Path | None = None) -> list[Task]:
    """Read a table of edits that the bundle can make.

    Args:
        path: the table.
        bundle: whose tokenizer prompts are checked with.
        manifest: the bundle's.
        tail: for rows that name none.

    Raises:
        TableError: naming the rows that cannot be done.
    """
    schedule, tokenizer = manifest.schedule.load(), open_tokenizer(bundle, manifest)

    @lru_cache(_TAILS_AT_ONCE)
    def known(tail: str) -> tuple[TailFile, str]:
        return read_tail_file(tail), file_digest(tail)

    def check(row: EditRow) -> str:
        file, digest = known(row.tail)
        request = EditRequest(
            target_prompt=row.prompt,
            tail=file,
            seed=row.seed,
            negative_prompt=row.negative_prompt,
            tail_strength=row.tail_strength,
            guidance_scale=row.guidance_scale,
            num_inference_steps=row.num_inference_steps,
            solver=row.solver,
        )
        check_request(request, manifest, schedule, tokenizer)
        return digest

    return read_rows(path, EditRow, check, {} if tail is None else {"tail": str(tail.absolute())})
