"""What do whole fits with the presets `paper` and `fast` cost, and when is `fast` where `paper` ends?

python -m benchmarks.presets --model menagerie --subjects 4

Both are as they ship: `fast` with the model's own recipe, and `paper` with the learning rate of the paper times the
factor by which that recipe raises the one of `fast`, since it is the scale of prompt embeddings that asks for it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.record import RECORDS, write_record
from hiper.execution import Dtype, Execution, make_ready, resolve
from hiper.fit import FitConfig, FitProgress, fit_tail
from hiper.images import load_image, to_tensor
from hiper.models import StableDiffusion, load_model
from hiper.recipe import PRESETS, choose_config, read_recipe

Inputs = tuple[torch.nn.Module, Tensor, Tensor, Tensor]  # the first four arguments of fit_tail

QUESTION = "Rows, seconds and held-out loss of whole fits with both presets, and when fast is where paper ends, if ever"
# Animals that no fit was tuned on: neither learning rates nor steps, and neither fidelity nor its gate meets them.
FIRST = 200_000


@dataclass
class Curve:
    """What one fit cost and reached.

    Attributes:
        config: of the fit.
        step_s: seconds per step, without a look at the held-out loss.
        look_s: seconds per look at the held-out loss, its step included.
        losses: held-out loss by steps done.
    """

    config: FitConfig
    step_s: list[float] = field(default_factory=list)
    look_s: list[float] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)

    def add(self, progress: FitProgress, seconds: float) -> None:
        """Take in one step."""
        if progress.held_out_loss is None:
            self.step_s.append(seconds)
        else:
            self.look_s.append(seconds)
            self.losses[progress.step] = progress.held_out_loss

    def steps_to(self, loss: float) -> int | None:
        """Steps until the held-out loss was first as low as this; None if it never was."""
        return next((step for step, found in self.losses.items() if found <= loss), None)

    def cost(self, name: str) -> dict[str, Any]:
        """What the whole fit took, from its first step to its last."""
        end = max(self.losses)
        return {
            f"{name}_end_step": end,
            f"{name}_rows": end * self.config.timesteps_per_step,
            f"{name}_wall_s": self.seconds_at(end),
            f"{name}_end_loss": self.losses[end],
            f"{name}_best_loss": min(self.losses.values()),
        }

    def seconds_at(self, step: int) -> float:
        """Median time of so many steps, with their looks where the config's patience needs them."""
        looks = step // self.config.evaluate_every if self.config.patience else 0
        return (step - looks) * statistics.median(self.step_s) + looks * statistics.median(self.look_s)


def fit_both(
    inputs: Inputs, configs: dict[str, FitConfig], prediction_type: str, execution: Execution
) -> dict[str, Curve]:
    """Fit with both configurations, step by step in turns: whatever else the machine does meets both."""
    curves = {name: Curve(config) for name, config in configs.items()}
    options: Any = {"prediction_type": prediction_type, "execution": execution}
    fits = [_timed(fit_tail(*inputs, config, **options)) for config in configs.values()]
    for turn in zip_longest(*fits):
        for curve, step in zip(curves.values(), turn, strict=True):
            if step is not None:
                curve.add(*step)
    return curves


def compare(curves: dict[str, Curve]) -> dict[str, Any]:
    """Figures of one subject; rows and seconds as ratios paper / fast, until either first is where paper ends."""
    paper, fast = curves["paper"], curves["fast"]
    target = paper.losses[paper.config.steps]
    first, reached = paper.steps_to(target), fast.steps_to(target)
    assert first is not None
    result: dict[str, Any] = {
        **paper.cost("paper"),
        **fast.cost("fast"),
        "paper_steps_to_paper_end": first,
        "fast_steps_to_paper_end": reached,
        **{f"{name}_held_out_losses": curve.losses for name, curve in curves.items()},
        **{f"{name}_step_s": curve.step_s for name, curve in curves.items()},
        **{f"{name}_look_s": curve.look_s for name, curve in curves.items()},
    }
    if reached is not None:
        rows = [curve.config.timesteps_per_step for curve in (paper, fast)]
        result["times_fewer_rows"] = first * rows[0] / (reached * rows[1])
        result["times_less_time"] = paper.seconds_at(first) / fast.seconds_at(reached)
    return result


def table(results: list[dict[str, Any]]) -> Table:
    """The figures of a record, a row per subject and preset; ratios are until fast first is where paper ends."""
    shown = Table("subject", "preset", "rows", "s", "ends at loss", "best", "times fewer rows", "times less time")
    for number, found in enumerate(results):
        for name in ("paper", "fast"):
            losses = (f"{found[f'{name}_{which}_loss']:.4f}" for which in ("end", "best"))
            shown.add_row(
                str(number),
                name,
                str(found[f"{name}_rows"]),
                f"{found[f'{name}_wall_s']:.1f}",
                *losses,
                *(_times(found, ratio) if name == "fast" else "" for ratio in ("times_fewer_rows", "times_less_time")),
            )
    return shown


def _times(found: dict[str, Any], ratio: str) -> str:
    return f"{found[ratio]:.2f}" if ratio in found else "never"


def main(
    model: Annotated[str, typer.Option(help="menagerie, or a folder")] = "menagerie",
    subjects: Annotated[int, typer.Option(help="individuals of Menagerie, unless images are given", min=1)] = 4,
    first: Annotated[int, typer.Option(help="of these individuals", min=0)] = FIRST,
    image: Annotated[list[str] | None, typer.Option(help="an image of a subject; once for each")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="its source prompt; once for each")] = None,
    dtype: Dtype = "fp32",
    device: str = "auto",
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
    paper_learning_rate: Annotated[
        float | None, typer.Option(help="the paper's, raised as the model's recipe raises that of fast, if not given")
    ] = None,
    look_every: Annotated[int, typer.Option(help="steps of `paper` between looks at the held-out loss", min=2)] = 50,
) -> None:
    """Compare the presets and write a record to benchmarks/records."""
    device = resolve(Execution(device)).device
    loaded = load_model(model, device=device)
    execution = make_ready(loaded.unet, Execution(device, dtype))
    fast = choose_config("fast", recipe=read_recipe(loaded.folder))
    paper = replace(
        choose_config("paper"),
        learning_rate=paper_learning_rate or scaled_learning_rate(fast),
        evaluate_every=look_every,
    )
    configs = {"paper": paper, "fast": fast}
    animals = map(_menagerie, range(first, first + subjects))
    chosen = zip(image, prompt or [], strict=True) if image else animals
    results = []
    for source, words in chosen:
        inputs = _inputs(loaded, source, words)
        results.append(compare(fit_both(inputs, configs, loaded.prediction_type, execution)))
    settings = {name: asdict(config) for name, config in configs.items()} | {"model": model, **asdict(execution)}
    settings["subjects"] = image or [*range(first, first + subjects)]
    name = f"presets-{loaded.model_id.replace('/', '-')}"
    path = write_record(name, QUESTION, settings, {"subjects": results}, records, model_digest=loaded.digest)
    Console().print(table(results), f"record: {path}")


def scaled_learning_rate(fast: FitConfig) -> float:
    """The paper's, by as much more as a model's recipe gives the preset fast."""
    return PRESETS["paper"].learning_rate * fast.learning_rate / PRESETS["fast"].learning_rate


def _timed(fit: Iterator[FitProgress]) -> Iterator[tuple[FitProgress, float]]:
    start = time.perf_counter()
    for progress in fit:
        yield progress, time.perf_counter() - start
        start = time.perf_counter()


def _inputs(model: StableDiffusion, source: str | Image.Image, prompt: str) -> Inputs:
    image = to_tensor(load_image(source).picture, model.image_size)
    latents = model.encode_image(image, torch.Generator().manual_seed(0))
    return model.unet, latents, model.encode_prompt(prompt, 5), model.alphas_cumprod


def _menagerie(index: int) -> tuple[Image.Image, str]:
    """An individual that Menagerie's training never saw, and the fewest words for what it does."""
    from hiper.menagerie.captions import terse_caption
    from hiper.menagerie.render import render
    from hiper.menagerie.world import held_out

    identity, content, framing = held_out(index)
    return Image.fromarray(render(identity, content, framing)), terse_caption(content)


if __name__ == "__main__":
    typer.run(main)
