"""The method in diffusers' manner: load a model once, fit a subject, edit it as often as you like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Generator, Tensor

from hiper.edit import EditConfig, choose_edit_config, describe_edit
from hiper.execution import Attention, Dtype, Execution, make_ready, resolve
from hiper.fit import FitConfig, FitProgress
from hiper.fit_job import TAIL_STRENGTH, FitJob
from hiper.images import Crop, SourceImage, load_image, to_pictures
from hiper.models import StableDiffusion, load_model
from hiper.prompts import check_prompts
from hiper.recipe import choose_config, read_recipe
from hiper.sample import draw_from, draw_noise, sample
from hiper.schedule import Solver
from hiper.snapshots import keep_snapshots
from hiper.tail import Tail, check_tail, splice

Picture = str | Path | bytes | Image.Image | SourceImage


class HiPer:
    """A frozen Stable Diffusion that learns subjects as tails.

    Attributes:
        model: the loaded networks.
        execution: how they run, with every "auto" resolved.
        recipe: what the model's folder recommends.
    """

    def __init__(self, model: StableDiffusion, execution: Execution) -> None:
        self.model = model
        self.recipe = read_recipe(model.folder)
        self.execution = make_ready(model.unet, execution)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "menagerie",
        *,
        device: str = "auto",
        dtype: Dtype = "auto",
        attention: Attention = "auto",
        channels_last: bool = False,
        compile: bool = False,
        cuda_graph: bool = False,
        clip_skip: int = 0,
    ) -> HiPer:
        """Load a Stable Diffusion 1.x or 2.x.

        Args:
            model: a hub id, a folder in diffusers layout, or "menagerie" for the model that ships with HiPer.
            device: and the next five as in `Execution`; VAE and text encoder stay in fp32, since they run once.
            dtype: of the UNet.
            attention: of the UNet.
            channels_last: memory layout of the UNet.
            compile: the UNet, with torch.compile.
            cuda_graph: record a fit step once and replay it.
            clip_skip: text encoder layers to leave out.

        Raises:
            ModelError: it is missing, incomplete, damaged, or of another kind.
            ExecutionError: this machine lacks what was asked for by name.
        """
        execution = Execution(device, dtype, attention, channels_last, compile, cuda_graph)
        # Whatever this machine cannot do is said before gigabytes are read.
        loaded = load_model(model, device=resolve(execution).device, clip_skip=clip_skip)
        return cls(loaded, execution)

    def fit(
        self,
        images: Picture | Sequence[Picture],
        prompt: str,
        *,
        preset: str = "fast",
        subject: str = "animal",
        seed: int = 0,
        config: FitConfig | None = None,
        crop: Crop = "centre",
        init: Tail | None = None,
        snapshots: str | Path | None = None,
        snapshots_every: int = 10,
        resume: bool = False,
        callback: Callable[[FitProgress], None] | None = None,
    ) -> Tail:
        """Learn a subject from one image, or from several of the same subject.

        Args:
            images: names, contents, PIL images, or what `load_image` made of them.
            prompt: describes them in a few words.
            preset: "fast" or "paper".
            subject: "animal", "object" or "person", which takes more rows.
            seed: of all noise.
            config: instead of preset, subject and seed.
            crop: how a picture becomes a square: "centre", "pad" or "stretch".
            init: a tail of the same length and model to start from.
            snapshots: a file that follows the fit, for a choice of tails and for resuming it.
            snapshots_every: steps between two tails to choose from.
            resume: go on from what is in `snapshots`, if there is anything.
            callback: called after every step.

        Returns:
            The tail of the lowest held-out loss, or the last one where the preset has no held-out loss.

        Raises:
            ImageError: a picture cannot be used.
            PromptError: the prompt is empty or too long.
            TailError: `init` is for another model or of another length.
            SnapshotError: `snapshots` holds another fit, or this one while `resume` is off.
            ValueError: an impossible setting.
            FitError: the loss became infinite.
        """
        config = config or choose_config(preset, subject, self.recipe, seed=seed)
        job = self.job(images, prompt, config, crop, init)
        earlier = None if snapshots is None else job.earlier(snapshots, resume)
        losses, state = ([*earlier.losses], earlier.state) if earlier else ([], None)
        # Any, since an Iterator does not promise the `close` that a generator has.
        fit: Any = job.run(self.execution, state)
        if snapshots is not None:
            fit = keep_snapshots(fit, snapshots, snapshots_every, job.identity, earlier)
        with closing(fit):
            for progress in fit:
                losses.append(progress.loss)
                state = progress.state
                if callback is not None:
                    callback(progress)
        assert state is not None, "a fit has at least one step"
        return job.tail(state, losses)

    def job(
        self,
        images: Picture | Sequence[Picture],
        prompt: str,
        config: FitConfig,
        crop: Crop = "centre",
        init: Tail | None = None,
    ) -> FitJob:
        """A fit that the caller runs step by step; arguments and errors as in `fit`."""
        [prompt] = check_prompts(prompt)
        pictures = images if isinstance(images, Sequence) and not isinstance(images, str | bytes) else [images]
        sources = [load_image(picture) for picture in pictures]
        strength = self.recipe.tail_strength or TAIL_STRENGTH
        return FitJob(self.model, sources, prompt, config, crop, init, strength)

    def edit(
        self,
        tail: Tail | None,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        generator: Generator | Sequence[Generator] | None = None,
        num_images_per_prompt: int = 1,
        negative_prompt: str | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        solver: Solver | None = None,
        tail_strength: float | None = None,
        batch_size: int = 4,
        callback: Callable[[int, int, Tensor], None] | None = None,
        keep: Callable[[list[Image.Image]], None] | None = None,
    ) -> list[Image.Image]:
        """Sample pictures of a subject for other prompts.

        Args:
            tail: of the subject; None samples the text alone.
            prompt: one or several wishes.
            seed: a picture's own; for several pictures a prompt the first, the others count up, or one each.
            generator: instead of `seed`, as in diffusers: one, or one a picture.
            num_images_per_prompt: where `seed` is not a list.
            negative_prompt: what to lead away from.
            guidance_scale: 1 or less samples without guidance, in half the time.
            num_inference_steps: more is finer and slower.
            solver: "ddim" or "dpmpp_2m".
            tail_strength: 1 as fitted, less loosens the source's identity; what the tail suggests if None.
            batch_size: pictures sampled at once.
            callback: called with step, timestep and latents after every step of every batch.
            keep: called with the pictures of every batch as soon as they are there.

        Returns:
            Pictures of the first prompt, then of the next; `info` of each tells how to make it again.

        Raises:
            TailError: the tail is for another model.
            PromptError: a prompt is empty or too long.
            ValueError: an impossible setting.
        """
        config = choose_edit_config(
            self.recipe,
            tail,
            negative_prompt=negative_prompt,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            solver=solver,
            tail_strength=tail_strength,
        )
        prompts = check_prompts(prompt)
        seeds = [seed + index for index in range(num_images_per_prompt)] if isinstance(seed, int) else [*seed]
        if not seeds:
            raise ValueError("no picture is asked for; give a seed, or num_images_per_prompt of 1 or more")
        wishes = [(text, one) for text in prompts for one in seeds]
        embeddings = self.embed(tail, prompts, config.tail_strength).repeat_interleave(len(seeds), 0)
        negative = self.model.encode_prompt(config.negative_prompt) if config.guidance_scale > 1 else None
        noise = self._noise([one for _, one in wishes], generator)
        model = self.model.model_id, self.model.digest
        pictures: list[Image.Image] = []
        for part, embedding in zip(noise.split(batch_size), embeddings.split(batch_size), strict=True):
            batch = self._sample(part, embedding, negative, config, callback)
            for picture, (text, one) in zip(batch, wishes[len(pictures) :], strict=False):
                picture.info.update(describe_edit(*model, tail, text, None if generator else one, config))
            pictures += batch
            if keep is not None:
                keep(batch)
        return pictures

    def embed(self, tail: Tail | None, prompt: str | Sequence[str], tail_strength: float | None = None) -> Tensor:
        """Encode prompts with the tail spliced in: what diffusers' pipelines take as `prompt_embeds`.

        Args:
            tail: None encodes the text alone.
            prompt: one or several.
            tail_strength: what the tail suggests if None.

        Returns:
            (prompts, 77, dim) fp32 on the model's device.

        Raises:
            TailError: the tail is for another model.
            PromptError: a prompt is empty or too long.
        """
        prompts = check_prompts(prompt)
        if tail is None:
            return self.model.encode_prompt(prompts)
        check_tail(tail, self.model)
        embedding = self.model.encode_prompt(prompts, tail.tail_tokens)
        strength = tail.info.tail_strength if tail_strength is None else tail_strength
        return splice(embedding, tail.vectors.to(embedding), strength)

    def _noise(self, seeds: Sequence[int], generator: Generator | Sequence[Generator] | None) -> Tensor:
        side = self.model.image_size // self.model.vae_factor
        return draw_from(generator, (len(seeds), 4, side, side)) if generator else draw_noise(seeds, side, side)

    def _sample(
        self,
        noise: Tensor,
        prompt_embedding: Tensor,
        negative_embedding: Tensor | None,
        config: EditConfig,
        callback: Callable[[int, int, Tensor], None] | None,
    ) -> list[Image.Image]:
        latents = sample(
            self.model.unet,
            noise,
            prompt_embedding,
            negative_embedding,
            schedule=self.model.schedule,
            solver=config.solver,
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            callback=callback and (lambda step: callback(*step)),
        )
        return to_pictures(self.model.decode_latents(latents))
