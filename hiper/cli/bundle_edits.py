"""A bundle that edits in the manner of `HiPer`, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image

from engine.bundle import Bundle
from engine.edit_request import EditRequest, EditResult
from engine.editor import Editor
from engine.runtimes.buckets import BUCKETS
from engine.tail_file import TailFile
from hiper.cli.pictures import BATCH_SIZE
from hiper.edit import EditConfig, choose_edit_config, describe_edit
from hiper.prompts import check_prompts


class BundleEdits:
    """The pictures that `HiPer` makes, and their records, by a bundle's networks."""

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._editor = Editor(bundle, buckets=[rows for rows in BUCKETS if rows <= 2 * BATCH_SIZE])

    def edit(
        self,
        tail: TailFile | None,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        callback: Callable[[], None] | None = None,
        keep: Callable[[list[Image.Image]], None] | None = None,
        **wishes: Any,
    ) -> list[Image.Image]:
        """Sample pictures of a subject for other prompts.

        Args:
            tail: of the subject; None samples the text alone.
            prompt: one or several wishes.
            seed: a picture's own, or several for each prompt.
            callback: called after every step of every picture.
            keep: called with the pictures of every batch as soon as they are there.
            wishes: fields of EditConfig; None is no wish.

        Returns:
            Pictures of the first prompt, then of the next; `info` of each tells how to make it again.

        Raises:
            TailError: the tail is for another model.
            PromptError: a prompt is empty or too long.
            EditError: a picture became infinite.
        """
        config = choose_edit_config(self._manifest.edit_defaults, tail, **wishes)
        seeds = [seed] if isinstance(seed, int) else seed
        requests = [
            EditRequest(text, tail, seed=one, **asdict(config)) for text in check_prompts(prompt) for one in seeds
        ]
        pictures = []
        for start in range(0, len(requests), BATCH_SIZE):
            results = self._editor.edit(requests[start : start + BATCH_SIZE], callback and (lambda step: callback()))
            batch = [self._picture(result, config) for result in results]
            pictures += batch
            if keep is not None:
                keep(batch)
        return pictures

    def _picture(self, result: EditResult, config: EditConfig) -> Image.Image:
        picture, request = Image.fromarray(result.image), result.request
        model = self._manifest.model_id, self._manifest.model_digest
        picture.info.update(describe_edit(*model, request.tail, request.target_prompt, request.seed, config))
        return picture
