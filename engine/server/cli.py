"""`hiper-serve`: edits for everybody, by HTTP and with a page for the browser."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.server.console import reporting
from engine.server.data_commands import DataOption, data, keys
from engine.server.log import set_up_logging
from engine.server.settings import Runtime, load_settings, misspelt_variables

logger = logging.getLogger(__name__)

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
app.add_typer(keys, name="keys")
app.add_typer(data)

EXAMPLES = """
**Examples**

    hiper-serve                                  # Menagerie, with a page at http://127.0.0.1:8910

    hiper-serve --bundle sd15.bundle --model stable-diffusion-v1-5/stable-diffusion-v1-5 --runtime tensorrt

    hiper-serve keys add alice && hiper-serve --host 0.0.0.0

    curl -F image=@rex.jpg -F prompt="a standing dog" http://127.0.0.1:8910/v1/fits

Every option is also an environment variable, as HIPER_PORT, and a line in the file of --config, as port = 8911. There
are more settings than options: allowed_hosts, buckets, checkpoint_every, device, disk_floor_bytes, edit_timeout_s,
fit_device, fit_dtype, fit_nice, images_url, lease_s, max_body_bytes, max_bytes_per_owner, max_connections,
max_fits_per_owner, max_images_per_request, max_pixels, max_queued_fits, max_steps, max_tails, metrics_host, store_url.
"""

_LIMITS = "Limits"
_SPEED = "How it runs"
_CLUSTER = "On several machines"

ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", envvar="HIPER_CONFIG", help="Settings as TOML; options come first.")
]


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
@reporting
def serve(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="What hiper-export made. [default: export --model at the first start]"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Hub id or folder that fits use. [default: menagerie]")
    ] = None,
    data_dir: DataOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address; any but loopback needs a key first. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one. [default: 8910]")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="For Prometheus; 0 for none. [default: 9910]")] = None,
    config: ConfigOption = None,
    fits: Annotated[
        bool | None, typer.Option("--fits/--no-fits", help="Whether pictures can be fitted. [default: fits]")
    ] = None,
    runtime: Annotated[
        Runtime | None, typer.Option(help="[default: auto, the fastest here]", rich_help_panel=_SPEED)
    ] = None,
    precision: Annotated[
        Literal["exact", "fast"] | None,
        typer.Option(help="fast permits bfloat16 inside an fp32 bundle. [default: fast]", rich_help_panel=_SPEED),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of the edit engine. [default: one a core]", rich_help_panel=_SPEED)
    ] = None,
    max_edits: Annotated[
        int | None, typer.Option(help="Under way at once. [default: 64]", rich_help_panel=_LIMITS)
    ] = None,
    drain_s: Annotated[
        float | None, typer.Option(help="What edits get after SIGTERM. [default: 60]", rich_help_panel=_LIMITS)
    ] = None,
    ray: Annotated[
        bool | None, typer.Option("--ray", help="Run edits on a cluster of Ray.", rich_help_panel=_CLUSTER)
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a cluster. [default: start one here]", rich_help_panel=_CLUSTER),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="MIN[:MAX]", help="Edit engines, a device each. [default: 1]", rich_help_panel=_CLUSTER),
    ] = None,
    fronts: Annotated[
        int | None, typer.Option(help="Several need a shared store. [default: 1]", rich_help_panel=_CLUSTER)
    ] = None,
    access_log: Annotated[bool | None, typer.Option("--access-log", help="A line for every request.")] = None,
    log_format: Annotated[
        Literal["plain", "json"] | None, typer.Option(help="Of the lines on stderr. [default: plain]")
    ] = None,
) -> None:
    """Serve edits and fits by HTTP, with a page for the browser.

    Edits of all users share one running batch. Fits are jobs: once accepted they are done, whatever happens in between.
    SIGTERM and Ctrl-C end what is under way first; a second Ctrl-C does not.
    """
    given: dict[str, Any] = {
        "bundle": bundle,
        "model": model,
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "metrics_port": metrics_port,
        "fits": fits,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "max_edits": max_edits,
        "drain_s": drain_s,
        "ray": ray,
        "ray_address": ray_address,
        "replicas": replicas,
        "fronts": fronts,
        "access_log": access_log,
        "log_format": log_format,
    }
    settings = load_settings(config, **given)
    if context.invoked_subcommand is not None:
        context.obj = settings
        for problem in misspelt_variables():
            typer.echo(problem, err=True)
        return
    set_up_logging(settings.log_format)
    for problem in misspelt_variables():
        logger.warning("%s", problem)
    # FastAPI takes half a second to load; help and a mistyped option should not.
    if settings.ray:
        from engine import cluster

        cluster.serve(settings, typer.echo)
    else:
        from engine.server import lifecycle

        lifecycle.serve(settings, typer.echo)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
