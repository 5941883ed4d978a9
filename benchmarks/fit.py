"""What does a step of fit_tail cost, in time and memory, against one of the published loop, whose UNet is not frozen?

python -m benchmarks.fit --model sd1
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn.functional import mse_loss

from benchmarks.memory import peak_bytes
from benchmarks.record import RECORDS, ROOT, fail_if, interleave, summary, write_record
from benchmarks.workload import Workload, model_digest, workload
from hiper.execution import Execution, ExecutionError, make_ready, resolve
from hiper.fit import FitConfig, fit_tail

QUESTION = "Time and peak memory of a fit step: ours, and the published loop, which does not freeze the UNet"
PUBLISHED = "published"
EXECUTIONS = {
    "fp32": Execution(),
    "bf16": Execution(dtype="bf16"),
    "bf16-channels-last": Execution(dtype="bf16", channels_last=True),
    "bf16-nhwc-sdpa": Execution(dtype="bf16", attention="sdpa", channels_last=True),
    "bf16-sdpa": Execution(dtype="bf16", attention="sdpa"),
    "bf16-xformers": Execution(dtype="bf16", attention="xformers"),
    "fp16": Execution(dtype="fp16"),
    "bf16-graph": Execution(dtype="bf16", cuda_graph=True),
    "fp32-compiled": Execution(compile=True),
    "bf16-compiled": Execution(dtype="bf16", compile=True),
    "bf16-nhwc-plain": Execution(dtype="bf16", attention="plain", channels_last=True),
    "bf16-nhwc-cudnn": Execution(dtype="bf16", attention="cudnn", channels_last=True),
    "bf16-nhwc-xformers": Execution(dtype="bf16", attention="xformers", channels_last=True),
    "bf16-nhwc-compiled": Execution(dtype="bf16", attention="sdpa", channels_last=True, compile=True),
    "bf16-nhwc-compiled-graph": Execution(
        dtype="bf16", attention="sdpa", channels_last=True, compile=True, cuda_graph=True
    ),
}
DEFAULT_CASES = (PUBLISHED, "fp32", "bf16", "bf16-channels-last", "fp16", "bf16-graph")


def published_loop(work: Workload, device: str, rows: int = 1) -> Iterator[float]:
    """The losses of HiPer0/HiPer's train.py: weights collect gradients that nobody uses or clears.

    It is transcribed from its behaviour and knows one row a step; more are its arithmetic over a batch.
    """
    unet = work.unet.to(device).requires_grad_(True)
    latents, embedding = work.latents.to(device), work.prompt_embedding.to(device)
    signal, sigma = (root.float().to(device) for root in (work.alphas_cumprod.sqrt(), (1 - work.alphas_cumprod).sqrt()))
    tail = embedding[:, -5:].clone().requires_grad_()
    optimizer = torch.optim.Adam([tail], lr=5e-3, betas=(0.9, 0.999), eps=1e-8)
    generator = torch.Generator().manual_seed(0)
    while True:
        noise = torch.randn(rows, *latents.shape[1:], generator=generator).to(device)
        timesteps = torch.randint(1000, (rows,), generator=generator).to(device)
        scale_signal, scale_noise = (scale[timesteps].view(-1, 1, 1, 1) for scale in (signal, sigma))
        noisy = scale_signal * latents + scale_noise * noise
        encoder_hidden_states = torch.cat([embedding[:, :-5], tail], dim=1).expand(rows, -1, -1)
        noise_pred = unet(noisy, timesteps, encoder_hidden_states).sample
        v_target = scale_signal * noise - scale_noise * latents
        loss = mse_loss(noise_pred, noise if work.prediction_type == "epsilon" else v_target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def our_loop(work: Workload, execution: Execution, rows: int = 1) -> Iterator[float]:
    """The losses of fit_tail with the recipe of the paper, without an end."""
    made = make_ready(work.unet, execution)
    inputs = (work.unet, work.latents, work.prompt_embedding, work.alphas_cumprod)
    endless = FitConfig(steps=sys.maxsize, timesteps_per_step=rows)
    fit = fit_tail(*inputs, endless, prediction_type=work.prediction_type, execution=made)
    return (progress.loss for progress in fit)


def start(case: str, model: str, device: str, rows: int = 1) -> Iterator[float]:
    """The loop of a case on inputs of its own."""
    if case == PUBLISHED:
        return published_loop(workload(model), device, rows)
    return our_loop(workload(model), replace(EXECUTIONS[case], device=device), rows)


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


def measure_memory(case: str, model: str, device: str, rows: int = 1, steps: int = 2) -> dict[str, int]:
    """Peak memory of a case, from a process of its own; in bytes."""
    child = [sys.executable, "-m", "benchmarks.fit", "--model", model, "--device", device, "--rows", str(rows)]
    output = subprocess.run(
        [*child, "--peak-of", case, "--rounds", str(steps)], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(output.stdout.splitlines()[-1]))


def measure_times(
    cases: list[str], model: str, device: str, rounds: int, rows: int = 1, errors: dict[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Times and losses of all cases, interleaved; ratios are medians over rounds of case to the first."""
    losses: dict[str, list[float]] = {case: [] for case in cases}
    started: dict[str, Iterator[float]] = {}

    def step(case: str) -> None:
        if case not in started:
            started[case] = start(case, model, device, rows)
        losses[case].append(next(started[case]))

    baseline = cases[0]
    samples = interleave({case: partial(step, case) for case in cases}, rounds, errors=errors)
    if baseline not in samples:
        raise RuntimeError(f"nothing can be compared, since {baseline} failed: {(errors or {})[baseline]}")
    results = {}
    for case, found in samples.items():
        ratios = [ours / theirs for ours, theirs in zip(found.timed_ms, samples[baseline].timed_ms, strict=True)]
        apart = max(abs(ours / theirs - 1) for ours, theirs in zip(losses[case], losses[baseline], strict=True))
        results[case] = {
            **summary(found),
            f"time_ratio_to_{baseline}": statistics.median(ratios),
            f"largest_loss_difference_to_{baseline}": apart,
            "losses": losses[case],
        }
    return results


def main(
    model: Annotated[str, typer.Option(help="tiny, sd1, sd2 (all random), menagerie, or a folder")] = "tiny",
    case: Annotated[list[str] | None, typer.Option(help=f"some of {PUBLISHED}, {', '.join(EXECUTIONS)}")] = None,
    rounds: Annotated[int, typer.Option(help="timed steps per case", min=1)] = 15,
    rows: Annotated[int, typer.Option(help="UNet rows per step", min=1)] = 1,
    device: str = "auto",
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
    label: Annotated[str, typer.Option(help="at the end of the record's name")] = "",
    peak_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure a fit step and write a record to benchmarks/records; exits with 1 if a case failed."""
    device = resolve(Execution(device)).device
    if peak_of:
        steps = start(peak_of, model, device, rows)
        print(json.dumps(peak_bytes(lambda: list(islice(steps, rounds)), device)))
        return
    cases, left_out = possible(case or list(DEFAULT_CASES), device)
    errors: dict[str, str] = {}
    results = measure_times(cases, model, device, rounds, rows, errors)
    for name in results:
        results[name]["memory"] = measure_memory(name, model, device, rows)
    settings = {"model": model, "device": device, "rounds": rounds, "rows": rows, "left_out": left_out}
    name = f"fit-{Path(model).name}" + (f"-rows{rows}" if rows > 1 else "") + (f"-{label}" if label else "")
    path = write_record(name, QUESTION, settings, results, records, model_digest=model_digest(model), errors=errors)
    Console().print(table(results, cases[0]), f"record: {path}")
    for case_name, reason in left_out.items():
        Console(stderr=True).print(f"left out {case_name}: {reason}")
    fail_if(errors)


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
