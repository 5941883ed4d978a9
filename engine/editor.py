"""Prompt and tail to picture: the networks of a bundle around a batch of rows; knows no HTTP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np

from engine.bundle import Bundle
from engine.bundle_files import export_command
from engine.edit_request import CheckedEdit, EditRequest, EditResult, Timings
from engine.errors import BundleError, EditError
from engine.noise import unit_noise
from engine.preview import fit_colors, preview
from engine.prompt_encoder import PromptEncoder, splice
from engine.request_check import check_request
from engine.row_kernels import Floats, Pixels
from engine.row_memory import place_beside
from engine.rows import RowBatch, RowEdit
from engine.runtimes import Network
from engine.runtimes.buckets import BUCKETS, BucketedNetwork, choose_buckets
from engine.urgency import fit


@dataclass(eq=False)
class Edit:
    """An edit under way, made by `Editor.begin`."""

    request: EditRequest
    row_edit: RowEdit
    started: float
    text_ms: float
    unet_ms: list[float] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows its next step takes."""
        return self.row_edit.rows


@dataclass(frozen=True, eq=False)
class Progress:
    """A step that an edit has just taken; its pictures are of this step until the editor's next turn.

    Attributes:
        edit: which took it.
        step: how many are done, from 1.
    """

    editor: "Editor"
    edit: Edit
    step: int

    @property
    def steps(self) -> int:
        """How many there are in all."""
        return len(self.edit.row_edit.table)

    @property
    def done(self) -> bool:
        """Whether `Editor.finish` can have the picture."""
        return self.step == self.steps

    def preview(self) -> Pixels:
        """A rough picture of what will come, one pixel a latent, (h, w, 3) uint8; costs nothing but the first time."""
        return preview(self.editor.estimate(self.edit), self.editor.colors)

    def picture(self) -> Pixels:
        """What will come as the decoder shows it, (H, W, 3) uint8; costs a call of the decoder."""
        return self.editor.decode(self.editor.estimate(self.edit))


class Editor:
    """Runs edits of one size on a bundle. Not for two threads at once, except `check`.

    `edit` does everything. Whoever lets edits come and go, as `Batcher` does, calls `begin` for each, then `turn` and
    `call` in turns, and `finish` or `drop`.

    Attributes:
        buckets: the numbers of rows that the UNet is called with.
        max_rows: the last of them.
        rows_on_gpu: whether rows lie beside the UNet, and CUDA's kernels change them there.

    Args:
        bundle: the networks.
        height: of the pictures in pixels; the model's own size if None.
        width: likewise.
        buckets: the numbers of rows that the UNet may be called with; see `RowBatch`. Those worth most are used where
            the UNet keeps fewer shapes compiled.
        max_edits: how many can be under way.

    Raises:
        BundleError: the bundle has no networks for this size.
    """

    def __init__(
        self,
        bundle: Bundle,
        height: int | None = None,
        width: int | None = None,
        buckets: Sequence[int] = BUCKETS,
        max_edits: int = 64,
    ) -> None:
        manifest = bundle.manifest
        self.buckets = _keepable(bundle.unet, buckets)
        self.max_rows = self.buckets[-1]
        self.max_edits = max_edits
        self._bundle = bundle
        self._latent_shape = _latent_shape(bundle, height or manifest.image_size, width or manifest.image_size)
        self._prompts = PromptEncoder(bundle)
        self._schedule = manifest.schedule.load()
        place = place_beside(bundle.unet)
        self.rows_on_gpu = place.on_gpu
        self._unet = place.call
        prompt_shape = (manifest.max_tokens, manifest.dim)
        self._rows = RowBatch(self._latent_shape, prompt_shape, self.buckets, max_edits, place.memory)
        self._stepping: list[Edit] = []
        self._inputs: dict[str, Any] = {}
        self._answer: Any = None

    def edit(
        self, requests: Sequence[EditRequest], on_step: Callable[[Progress], object] | None = None
    ) -> list[EditResult]:
        """Run edits side by side, as many at once as there are rows for.

        Args:
            requests: at most `max_edits`.
            on_step: called after every step of every edit; what it raises ends them all and reaches the caller.

        Raises:
            PromptError, TailError, ValueError: a request cannot be met, see `check`.
            EditError: an edit became infinite.
        """
        checked = [self.check(request) for request in requests]
        edits: list[Edit] = []
        results: dict[Edit, EditResult] = {}
        try:
            edits += map(self.begin, checked)
            while len(results) < len(edits):
                for progress in self.turn(fit((edit for edit in edits if not edit.row_edit.done), self.max_rows)):
                    if on_step is not None:
                        on_step(progress)
                    if progress.done:
                        results[progress.edit] = self.finish(progress.edit)
                self.call()
        finally:
            for edit in edits:
                if edit not in results:
                    self.drop(edit)
        return [results[edit] for edit in edits]

    def check(self, request: EditRequest) -> CheckedEdit:
        """Fill in what tail and model recommend, and refuse what cannot be done; see `check_request`."""
        return check_request(request, self._bundle.manifest, self._schedule, self._bundle.tokenizer)

    def begin(self, checked: CheckedEdit) -> Edit:
        """Take up an edit; at most `max_edits` are under way."""
        started, request = perf_counter(), checked.request
        cond, uncond = self._prompts.encode(request.target_prompt), self._prompts.encode(request.negative_prompt)
        text_ms = 1e3 * (perf_counter() - started)
        row_edit = RowEdit(
            noise=unit_noise(self._latent_shape, request.seed),
            cond=cond if request.tail is None else splice(cond, request.tail.tail, checked.tail_strength),
            uncond=uncond,
            table=checked.table,
            guidance_scale=checked.guidance_scale,
            guidance_interval=request.guidance_interval,
        )
        self._rows.join(row_edit)
        return Edit(request, row_edit, started, text_ms)

    def turn(self, edits: Sequence[Edit]) -> list[Progress]:
        """Let the edits of the last call take their step, and give rows to those of the next.

        Args:
            edits: unfinished ones, with at most `max_rows` rows in all.

        Returns:
            The steps that were taken.
        """
        steps = [Progress(self, edit, edit.row_edit.step) for edit in self._stepping]
        self._inputs = self._rows.turn(self._answer, [edit.row_edit for edit in edits])
        self._stepping = [*edits]
        return steps

    def call(self) -> float | None:
        """Run the UNet on the rows of the last turn.

        Returns:
            Milliseconds; None if there was nothing to run, because it has no edits, or all were dropped.

        Raises:
            Exception: whatever the runtime raises; the edits that have rows are lost then and must be dropped.
        """
        if not self._stepping:
            return None
        start = perf_counter()
        self._answer = self._unet(self._inputs)["out_sample"]
        latency_ms = 1e3 * (perf_counter() - start)
        for edit in self._stepping:
            edit.unet_ms.append(latency_ms)
        return latency_ms

    def finish(self, edit: Edit) -> EditResult:
        """Decode an edit that is done, and let it go.

        Raises:
            EditError: its numbers became infinite.
        """
        latents, decoding = self._rows.latents(edit.row_edit), perf_counter()
        self.drop(edit)
        if not np.isfinite(latents).all():
            raise EditError(
                f"edit of {edit.request.target_prompt!r} became infinite; use a tail_strength nearer to 1, another "
                "seed, or a bundle of higher precision"
            )
        image, end = self.decode(latents), perf_counter()
        timings = Timings(edit.text_ms, (*edit.unet_ms,), 1e3 * (end - decoding), 1e3 * (end - edit.started))
        return EditResult(image, edit.request, timings)

    def drop(self, edit: Edit) -> None:
        """Let go of an edit at whatever step it is; nobody else notices."""
        self._rows.leave(edit.row_edit)
        self._stepping = [other for other in self._stepping if other is not edit]

    def estimate(self, edit: Edit) -> Floats:
        """The clean latents as the edit's last step saw them, (4, h, w)."""
        return self._rows.x0(edit.row_edit)

    def decode(self, latents: Floats) -> Pixels:
        """Latents (4, h, w) to pixels (H, W, 3)."""
        # One at a time: a picture depends on no other then, and a finished one waits for no other.
        image: Pixels = self._bundle.decoder({"latent_sample": latents[None]})["image"][0]
        return image

    @cached_property
    def colors(self) -> Floats:
        """What `preview` paints with; the first use costs a call of the decoder."""
        return fit_colors(lambda latents: self.decode(latents[0])[None], self._latent_shape)

    def warm_up(self) -> None:
        """Run every network in every shape it will be asked for: runtimes compile at the first call of each."""
        for bucket in self.buckets:
            self._unet(self._rows.inputs(bucket))
        self.edit([EditRequest("warm-up", num_inference_steps=1)])


def _keepable(unet: Network, buckets: Sequence[int]) -> Sequence[int]:
    if isinstance(unet, BucketedNetwork) and unet.max_compiled < len(buckets):
        return choose_buckets(buckets, unet.max_compiled)
    return buckets


def _latent_shape(bundle: Bundle, height: int, width: int) -> tuple[int, int, int]:
    factor = bundle.manifest.vae_factor
    shape = (4, height // factor, width // factor)
    info = next(info for info in bundle.unet.inputs if info.name == "sample")
    fits = all(wanted in (None, size) for wanted, size in zip(info.shape[1:], shape, strict=True))
    if height % factor or width % factor or min(shape) < 1 or not fits:
        sizes = " x ".join(f"{size * factor}" if size else f"multiples of {factor}" for size in info.shape[2:])
        mend = export_command(bundle.folder, bundle.manifest, "--size", f"{height}x{width}", "--force")
        raise BundleError(
            f"{bundle.folder} makes pictures of {sizes} pixels, not of {height} x {width}; use that size, or: {mend}"
        )
    return shape
