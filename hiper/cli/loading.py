"""Loads a model for a command."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hiper.cli.console import messages, say
from hiper.cli.options import Running
from hiper.pipeline import HiPer


def load_hiper(model: str, running: Running) -> HiPer:
    """Load a model and say how it will run."""
    with messages().status(f"loading {model}"):
        hiper = HiPer.from_pretrained(model, **asdict(running))
    execution = hiper.execution
    say(f"{hiper.model.model_id} on {execution.device} in {execution.dtype} with {execution.attention} attention")
    return hiper


def describe(hiper: HiPer) -> dict[str, Any]:
    """Model and execution for a JSON result."""
    return {
        "model": hiper.model.model_id,
        "model_sha256": hiper.model.digest,
        "execution": asdict(hiper.execution),
    }
