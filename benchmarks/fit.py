"""What does a step of fit_tail cost, in time and memory, against one of the published loop, whose UNet is not frozen?

python -m benchmarks.fit --model sd1
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn.functional import mse_loss

from benchmarks.memory import peak_bytes
from benchmarks.record import RECORDS, ROOT, interleave, summary, write_record
from benchmarks.workload import Workload, workload
from hiper.execution import Execution, ExecutionError, make_ready, resolve
from hiper.fit import FitConfig, fit_tail

QUESTION = "Time and peak memory of a fit step of one row: ours, and the published loop, which does not freeze the UNet"
PUBLISHED = "published"
EXECUTIONS = {
    "fp32": Execution(),
    "bf16": Execution(dtype="bf16"),
    "bf16-channels-last": Execution(dtype="bf16", channels_last=True),
    "fp16": Execution(dtype="fp16"),
    "bf16-graph": Execution(dtype="bf16", cuda_graph=True),
    "fp32-compiled": Execution(compile=True),
    "bf16-compiled": Execution(dtype="bf16", compile=True),
}
DEFAULT_CASES = (PUBLISHED, "fp32", "bf16", "bf16-channels-last", "fp16", "bf16-graph")


def published_loop(work: Workload, device: str) -> Iterator[float]:
    """The losses of HiPer0/HiPer's train.py: weights collect gradients that nobody uses or clears."""
    unet = work.unet.to(device).requires_grad_(True)
    latents, embedding = work.latents.to(device), work.prompt_embedding.to(device)
    signal, sigma = (root.float().to(device) for root in (work.alphas_cumprod.sqrt(), (1 - work.alphas_cumprod).sqrt()))
    tail = embedding[:, -5:].clone().requires_grad_()
    optimizer = torch.optim.Adam([tail], lr=5e-3, betas=(0.9, 0.999), eps=1e-8)
    generator = torch.Generator().manual_seed(0)
    while True:
        noise = torch.randn(latents.shape, generator=generator).to(device)
        timesteps = torch.randint(1000, (1,), generator=generator).to(device)
        noisy = signal[timesteps] * latents + sigma[timesteps] * noise
        noise_pred = unet(noisy, timesteps, torch.cat([embedding[:, :-5], tail], dim=1)).sample
        v_target = signal[timesteps] * noise - sigma[timesteps] * latents
        loss = mse_loss(noise_pred, noise if work.prediction_type == "epsilon" else v_target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def our_loop(work: Workload, execution: Execution) -> Iterator[float]:
    """The losses of fit_tail with the recipe of the paper, without an end."""
    made = make_ready(work.unet, execution)
    inputs = (work.unet, work.latents, work.prompt_embedding, work.alphas_cumprod)
    endless = FitConfig(steps=sys.maxsize)
    fit = fit_tail(*inputs, endless, prediction_type=work.prediction_type, execution=made)
    return (progress.loss for progress in fit)


def start(case: str, model: str, device: str) -> Iterator[float]:
    """The loop of a case on inputs of its own."""
    if case == PUBLISHED:
        return published_loop(workload(model), device)
    return our_loop(workload(model), replace(EXECUTIONS[case], device=device))


def possible(cases: list[str], device: str) -> tuple[list[str], dict[str, str]]:
    """Those cases that this machine can run, and why it cannot run the others."""
    if unknown := set(cases) - {PUBLISHED, *EXECUTIONS}:
        raise typer.BadParameter(f"no such case: {', '.join(sorted(unknown))}")
    left_out = {}
    for case in cases:
        try:
            resolve(replace(EXECUTIONS.get(case, Execution()), device=device))
        except ExecutionError as error:
            left_out[case] = str(error)
    return [case for case in cases if case not in left_out], left_out


def measure_memory(case: str, model: str, device: str, steps: int = 2) -> dict[str, int]:
    """Peak memory of a case, from a process of its own; in bytes."""
    child = [sys.executable, "-m", "benchmarks.fit", "--model", model, "--device", device]
    output = subprocess.run(
        [*child, "--peak-of", case, "--rounds", str(steps)], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(output.stdout.splitlines()[-1]))


def measure_times(cases: list[str], model: str, device: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Times and losses of all cases, interleaved; ratios are medians over rounds of case to published."""
    losses: dict[str, list[float]] = {case: [] for case in cases}

    def step(case: str, steps: Iterator[float]) -> Callable[[], None]:
        return lambda: losses[case].append(next(steps))

    samples = interleave({case: step(case, start(case, model, device)) for case in cases}, rounds)
    results = {}
    for case in cases:
        ratios = [ours / theirs for ours, theirs in zip(samples[case], samples[cases[0]], strict=True)]
        apart = max(abs(ours / theirs - 1) for ours, theirs in zip(losses[case], losses[cases[0]], strict=True))
        results[case] = {
            **summary(samples[case]),
            f"time_ratio_to_{cases[0]}": statistics.median(ratios),
            f"largest_loss_difference_to_{cases[0]}": apart,
            "losses": losses[case],
        }
    return results


def main(
    model: Annotated[str, typer.Option(help="tiny, sd1 (both random), menagerie, or a folder")] = "tiny",
    case: Annotated[list[str] | None, typer.Option(help=f"some of {PUBLISHED}, {', '.join(EXECUTIONS)}")] = None,
    rounds: Annotated[int, typer.Option(help="timed steps per case", min=1)] = 15,
    device: str = "auto",
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
    peak_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure a fit step and write a record to benchmarks/records."""
    device = resolve(Execution(device)).device
    if peak_of:
        steps = start(peak_of, model, device)
        print(json.dumps(peak_bytes(lambda: list(islice(steps, rounds)), device)))
        return
    cases, left_out = possible(case or list(DEFAULT_CASES), device)
    results = measure_times(cases, model, device, rounds)
    for name in cases:
        results[name]["memory"] = measure_memory(name, model, device)
    settings = {"model": model, "device": device, "rounds": rounds, "left_out": left_out}
    path = write_record(f"fit-{Path(model).name}", QUESTION, settings, results, records)
    Console().print(table(results, cases[0]), f"record: {path}")
    for name, reason in left_out.items():
        Console(stderr=True).print(f"left out {name}: {reason}")


def table(results: dict[str, dict[str, Any]], baseline: str) -> Table:
    """The figures of a record, a row per case."""
    shown = Table("case", "ms a step", f"time / {baseline}", "peak MB", "MB over the weights", "loss apart")
    for name, found in results.items():
        peak, before = found["memory"]["peak_bytes"], found["memory"]["before_bytes"]
        shown.add_row(
            name,
            f"{found['median_ms']:.1f}",
            f"{found[f'time_ratio_to_{baseline}']:.2f}",
            f"{peak / 1e6:.0f}",
            f"{(peak - before) / 1e6:.0f}",
            f"{found[f'largest_loss_difference_to_{baseline}']:.1e}",
        )
    return shown


if __name__ == "__main__":
    typer.run(main)
