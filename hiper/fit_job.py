"""One fit from pictures to a tail: everything that decides it, and the tail it ends in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Generator, Tensor

from hiper.execution import Execution
from hiper.fit import FitConfig, FitProgress, fit_tail
from hiper.fit_state import FitState
from hiper.images import Crop, SourceImage, to_tensor
from hiper.models import StableDiffusion
from hiper.snapshot_file import SnapshotError, Snapshots
from hiper.snapshots import find_snapshots, fit_identity
from hiper.tail import Tail, TailInfo, check_tail

TAIL_STRENGTH = 0.8  # the paper's alpha


@dataclass(frozen=True, eq=False)
class FitJob:
    """What goes into a fit.

    Attributes:
        model: its UNet made ready.
        sources: pictures of one subject.
        prompt: describes them.
        config: the recipe.
        crop: how a picture becomes the model's square.
        init: a tail to start from; the prompt's own last rows if None.
        tail_strength: to suggest for edits.

    Raises:
        TailError: the model cannot use `init`.
        ValueError: the seed is out of range.
    """

    model: StableDiffusion
    sources: Sequence[SourceImage]
    prompt: str
    config: FitConfig
    crop: Crop = "centre"
    init: Tail | None = None
    tail_strength: float = TAIL_STRENGTH

    def __post_init__(self) -> None:
        if not 0 <= self.config.seed < 2**63:
            raise ValueError(f"seed is {self.config.seed}; use 0 to {2**63 - 1}")
        if self.init is not None:
            check_tail(self.init, self.model)

    @cached_property
    def prompt_embedding(self) -> Tensor:
        """Of the source prompt, (1, 77, dim).

        Raises:
            PromptError: it leaves no room for the tail.
        """
        return self.model.encode_prompt(self.prompt, self.config.tail_tokens)

    @property
    def identity(self) -> dict[str, str]:
        """Names the fit in a snapshot file."""
        return fit_identity(
            self.config,
            model=self.model.digest,
            image=" ".join(source.sha256 for source in self.sources),
            prompt=self.prompt,
            crop=self.crop,
            init=None if self.init is None else self.init.vectors,
        )

    def earlier(self, path: str | Path, resume: bool) -> Snapshots | None:
        """What an interrupted run of this job has left in a snapshot file, which only `resume` may overwrite.

        Raises:
            SnapshotError: the file holds another job, or this one while `resume` is off.
        """
        earlier = find_snapshots(path, self.identity)
        if earlier is not None and not resume:
            step = earlier.state.step
            raise SnapshotError(f"{path} holds this very fit up to step {step}; resume it, or delete it to start again")
        return earlier

    def run(self, execution: Execution, resume: FitState | None = None) -> Iterator[FitProgress]:
        """Encode the pictures and fit.

        Args:
            execution: what the model's UNet was made ready for.
            resume: a state of this very job.
        """
        images = torch.cat([to_tensor(source.picture, self.model.image_size, self.crop) for source in self.sources])
        # One draw from the VAE's posterior, kept for all steps, as in the published code.
        latents = self.model.encode_image(images, Generator().manual_seed(self.config.seed))
        return fit_tail(
            self.model.unet,
            latents,
            self.prompt_embedding,
            self.model.alphas_cumprod,
            self.config,
            prediction_type=self.model.prediction_type,
            init=None if self.init is None else self.init.vectors,
            resume=resume,
            execution=execution,
        )

    def tail(self, state: FitState, losses: Sequence[float]) -> Tail:
        """The best tail of a fit that has come to `state`.

        Args:
            state: of the last step.
            losses: one per step.
        """
        rows = self.config.tail_tokens
        initial = self.prompt_embedding[0, -rows:].cpu() if self.init is None else self.init.vectors
        info = TailInfo(
            model_id=self.model.model_id,
            model_digest=self.model.digest,
            family=self.model.family,
            prediction_type=self.model.prediction_type,
            clip_skip=self.model.clip_skip,
            source_prompt=self.prompt,
            source_image_sha256=tuple(source.sha256 for source in self.sources),
            settings=asdict(self.config) | {"crop": self.crop},
            seed=self.config.seed,
            step=state.best_step,
            loss_trace=tuple(enumerate(losses, start=1)),
            tail_strength=self.tail_strength,
        )
        return Tail(state.best_tail, initial, info)
