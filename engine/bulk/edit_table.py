"""Tables of edits, checked against the bundle that is to make them."""

from functools import cache
from pathlib import Path

from engine.bulk.rows import EditRow, Task, mark, read_rows
from engine.bundle import Bundle
from engine.edit_request import EditRequest
from engine.manifest import Manifest
from engine.prompt_encoder import PromptEncoder
from engine.request_check import check_request
from engine.runtimes import RuntimeOptions
from engine.tail_file import read_tail_file


def read_edits(path: Path, bundle: Path, manifest: Manifest, tail: Path | None = None) -> list[Task]:
    """Read a table of edits that the bundle can make.

    Args:
        path: the table.
        bundle: whose tokenizer prompts are checked with.
        manifest: the bundle's.
        tail: for rows that name none.

    Raises:
        TableError: naming all rows that cannot be done.
    """
    schedule = manifest.schedule.load()
    # Only its tokenizer is used, so no runtime is chosen.
    prompts = PromptEncoder(Bundle(bundle, manifest, "", "", RuntimeOptions()))
    tail_file = cache(read_tail_file)

    def check(row: EditRow) -> None:
        request = EditRequest(
            target_prompt=row.prompt,
            tail=tail_file(row.tail),
            seed=row.seed,
            negative_prompt=row.negative_prompt,
            tail_strength=row.tail_strength,
            guidance_scale=row.guidance_scale,
            num_inference_steps=row.num_inference_steps,
            solver=row.solver,
        )
        check_request(request, manifest, schedule, prompts)

    rows = read_rows(path, EditRow, check, {} if tail is None else {"tail": str(tail.absolute())})
    return [Task(row, mark(row, tail_file(row.tail).digest)) for row in rows]
