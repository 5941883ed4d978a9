"""What the store keeps, as the rest of the server sees it. Times are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.server.messages import FitSettings

Scope = Literal["edit", "fit", "tails"]
SCOPES: tuple[Scope, ...] = ("edit", "fit", "tails")

FitState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
EventKind = Literal[
    "queued", "started", "progress", "checkpoint", "preview", "resumed", "succeeded", "failed", "cancelled"
]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Key:
    """Who may ask for what; the key's id is the owner of all that is made with it.

    Attributes:
        scopes: the kinds of request it may make.
        max_edits: under way at once.
        edits_per_minute: on average.
        max_fits: queued or running at once.
        revoked_at: it works no more since then.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    max_edits: int
    edits_per_minute: int
    max_fits: int
    created_at: float
    revoked_at: float | None = None


@dataclass(frozen=True)
class TailRow:
    """A tail file that is kept; its content is asked for separately.

    Attributes:
        digest: SHA-256 over the learned rows.
        image: SHA-256 of the canonical PNG it was fitted to, where that is kept.
        fit_id: the fit that made it, unless it was brought.
    """

    id: str
    owner: str
    name: str
    digest: str
    model_id: str
    model_digest: str
    source_prompt: str
    tail_strength: float
    image: str | None
    fit_id: str | None
    created_at: float
    size_bytes: int


@dataclass(frozen=True)
class FitRow:
    """A fit, wherever it is on its way.

    Attributes:
        image: SHA-256 of the canonical PNG.
        attempt: how often a worker has begun it; 0 before the first time.
        fence: number of the attempt that may report; what comes with another number is refused.
        step: optimiser steps done; steps: wanted, 0 until a worker has said it.
        losses: (step, loss) pairs, at most 500, evenly over the steps.
        cancel_requested: it runs, and is to stop.
        tail_id: its result.
        error: why it failed: at least "code" and "message".
        lease_until: without a sign of life until then, its worker counts as lost.
    """

    id: str
    owner: str
    name: str
    settings: FitSettings
    image: str
    state: FitState
    attempt: int
    fence: int
    step: int
    steps: int
    loss: float | None
    losses: tuple[tuple[int, float], ...]
    cancel_requested: bool
    tail_id: str | None
    error: Mapping[str, Any] | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    lease_until: float | None


@dataclass(frozen=True)
class Claim:
    """A fit to be run now; `checkpoint` is the snapshot to go on from."""

    fit: FitRow
    checkpoint: bytes | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a fit; `seq` counts from 1 for each fit.

    Its data: queued {"reason": "submitted" | "lost" | "stopped" | "restarted"}; started and resumed {"attempt",
    "step"}; progress {"step", "steps", "loss", "losses": since the last one}; checkpoint {"step"}; preview {"step",
    "image"}; succeeded {"tail"}; failed: the error; cancelled {}.
    """

    seq: int
    kind: EventKind
    data: Mapping[str, Any]
    at: float
