"""Every metric that a server has."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine.server.messages import EngineReady, ResolvedDefaults
from engine.server.metrics import Metrics
from engine.server.state_metrics import watch_state

READY = EngineReady(
    model_id="toy",
    model_digest="0" * 64,
    family="sd1",
    dim=8,
    max_tokens=77,
    image_size=64,
    runtime="onnxruntime",
    reason="",
    precision="exact",
    max_rows=8,
    max_edits=8,
    edit_defaults=ResolvedDefaults(guidance_scale=4.0, num_inference_steps=30, tail_strength=0.8),
    warm_up_ms=1.0,
)


@dataclass(frozen=True)
class Family:
    """A metric.

    Attributes:
        type: as Prometheus has it, but "info" for an info.
        labels: in the order of the code.
        samples: names that a query may use.
    """

    type: str
    labels: tuple[str, ...]
    samples: frozenset[str]


def metric_families(folder: Path) -> dict[str, Family]:
    """All of them by name, with `_total` and `_info` where Prometheus shows it."""
    metrics = Metrics()
    metrics.on_engine(READY)
    services: Any = SimpleNamespace(
        metrics=metrics,
        edits=SimpleNamespace(depth=0, restarts=0, ready=None),
        fits=SimpleNamespace(worker_restarts=0),
        store=SimpleNamespace(queued_fits=lambda: 0),
        settings=SimpleNamespace(data_dir=folder),
        warm_up=SimpleNamespace(failure=None),
        draining=False,
    )
    watch_state(services)
    collectors = {*metrics.registry._collector_to_names}
    return dict(_family(collector) for collector in collectors)


def _family(collector: Any) -> tuple[str, Family]:
    [described] = collector.describe()
    labels = ("model_id", "model_digest", "runtime", "precision") if described.type == "info" else collector._labelnames
    endings = {"counter": ("_total",), "info": ("_info",), "gauge": ("",)}
    names = [described.name + ending for ending in endings.get(described.type, ("_bucket", "_sum", "_count"))]
    shown = described.name if described.type == "histogram" else names[0]
    return shown, Family(described.type, tuple(labels), frozenset(names))
