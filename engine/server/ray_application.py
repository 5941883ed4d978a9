"""The application for Ray Serve: how many fronts and engines there are, what each reserves, and how long queues get."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray
from ray import serve
from ray.serve import Application

from engine.server.lifecycle import ServerError, engine_options
from engine.server.open_store import is_shared
from engine.server.ray_engine import HiPerEngine
from engine.server.ray_front import HiPerFront
from engine.server.settings import Settings

CLOSE_S: Final = 15.0  # beyond what edits get: for checkpoints of fits, and for processes to end

_LOOK_S: Final = 0.5
_UPSCALE_S: Final = 10.0
_RETRY_AFTER_S: Final = 1.0
# A front waits for others, so it takes many requests at once; edits and bodies have limits of their own.
_FRONT_REQUESTS: Final = 1000
_ON_GPU: Final = {"tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt"}


def build(settings: Settings, bundle: Path) -> Application:
    """Fronts and engines, bound to each other.

    Raises:
        ServerError: several fronts would share a store that cannot be shared.
    """
    if settings.fronts > 1 and not is_shared(settings):
        raise ServerError(
            f"{settings.fronts} fronts cannot share the folder {settings.data_dir}; name a store that can be shared "
            "with store_url and images_url, or take one front"
        )
    bound: Application = _front(settings).bind(settings.model_dump(), bundle, _engine(settings, bundle))
    return bound


def _front(settings: Settings) -> serve.Deployment:
    deploy: Any = serve.deployment(
        name="HiPerFront",
        num_replicas=settings.fronts,
        max_ongoing_requests=_FRONT_REQUESTS,
        max_queued_requests=_FRONT_REQUESTS,
        backpressure_config={"status_code": 503, "retry_after_s": _RETRY_AFTER_S},
        ray_actor_options={"num_cpus": 0, "num_gpus": int(settings.fits and "cuda" in settings.fit_device)},
        **_life(settings),
    )
    deployment: serve.Deployment = deploy(HiPerFront)
    return deployment


def _engine(settings: Settings, bundle: Path) -> Application:
    deploy: Any = serve.deployment(
        name="HiPerEngine",
        max_ongoing_requests=settings.max_edits,
        # Where edits wait for an engine to start or for a place when theirs died, and all are for a moment.
        max_queued_requests=settings.max_edits * settings.most_replicas,
        **_scale(settings),
        **_place(settings),
        **_life(settings),
    )
    options = engine_options(settings, bundle)
    # A replica sees no other GPU than the one that it has reserved.
    options = replace(options, device=0) if _on_gpu(settings) else replace(options, threads=_threads(settings))
    bound: Application = deploy(HiPerEngine).bind(options, settings.data_dir / "warm_up", settings.log_format)
    return bound


def _life(settings: Settings) -> dict[str, Any]:
    return {
        "graceful_shutdown_wait_loop_s": _LOOK_S,
        "graceful_shutdown_timeout_s": settings.drain_s + CLOSE_S,
        "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
    }


def _scale(settings: Settings) -> dict[str, Any]:
    """How many engines; beyond the rows of its largest call, an engine's edits only wait."""
    fewest, _, most = settings.replicas.partition(":")
    if not most:
        return {"num_replicas": int(fewest)}
    return {
        "autoscaling_config": {
            "min_replicas": int(fewest),
            "max_replicas": int(most),
            "target_ongoing_requests": max(1, min(settings.max_edits, settings.buckets[-1] // 2)),
            "upscale_delay_s": _UPSCALE_S,
        }
    }


def _place(settings: Settings) -> dict[str, Any]:
    """What an engine reserves: a GPU, or as many cores as it has threads, or a machine."""
    if _on_gpu(settings):
        return {"ray_actor_options": {"num_cpus": 0, "num_gpus": 1}}
    threads = _threads(settings)
    if threads is None:
        return {"ray_actor_options": {"num_cpus": 1}, "max_replicas_per_node": 1}
    return {"ray_actor_options": {"num_cpus": threads}}


def _threads(settings: Settings) -> int | None:
    """Of an engine on CPUs; on one machine alone, engines share the cores evenly unless told otherwise."""
    if settings.threads or settings.ray_address or not settings.ray:
        return settings.threads
    return max(1, len(os.sched_getaffinity(0)) // settings.most_replicas)


def _on_gpu(settings: Settings) -> bool:
    if settings.runtime != "auto":
        return settings.runtime in _ON_GPU
    resources: Any = ray.cluster_resources  # it is not annotated
    return bool(resources().get("GPU"))
