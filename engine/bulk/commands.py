"""From a command's options to its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.bulk import edit_worker, fit_worker
from engine.bulk.edit_table import read_edits
from engine.bulk.edit_worker import EditWorker
from engine.bulk.fit_table import read_fits
from engine.bulk.fit_worker import FitOptions, FitWorker
from engine.bulk.fleet import Fleet
from engine.bulk.folder import Folder
from engine.bulk.run import BulkRun
from engine.ray_cluster import require_ray
from engine.runtimes import Precision
from engine.runtimes.buckets import BUCKETS
from engine.server.engine_options import EngineOptions
from engine.server.first_bundle import find_bundle
from engine.server.settings import Runtime, load_settings

_ROWS_PER_EDIT: Final = 2  # with guidance


@dataclass(frozen=True)
class EditOptions:
    """What edits are made with.

    Attributes:
        tail: for rows that name none.
        bundle: as in the settings of `hiper-serve`, as are the next four.
        model: whose bundle is exported if need be.
        data_dir: where to.
        runtime: of the bundle.
        precision: of its networks.
        timeout_s: until a picture must be there.
    """

    tail: Path | None
    bundle: Path | None
    model: str | None
    data_dir: Path | None
    runtime: Runtime
    precision: Precision
    timeout_s: float


def fit_run(table: Path, output: Path, options: FitOptions, fleet: Fleet, as_json: bool) -> BulkRun:
    """Check a table of fits.

    Raises:
        TableError: it has rows that cannot be done.
        RuntimeMissingError: Ray is not installed.
    """
    require_ray()
    return BulkRun(
        what="fit",
        job={"model": options.model},
        table=table,
        tasks=read_fits(table),
        folder=Folder(output, fit_worker.SUFFIX),
        worker=FitWorker,
        arguments=lambda threads: {"options": options},
        fleet=fleet,
        as_json=as_json,
    )


def edit_run(table: Path, output: Path, options: EditOptions, fleet: Fleet, as_json: bool) -> BulkRun:
    """Check a table of edits against the bundle, which is exported if it is not there.

    Raises:
        TableError: it has rows that cannot be done.
        BundleError: there is no bundle.
        RuntimeMissingError: Ray is not installed.
    """
    require_ray()
    settings = load_settings(bundle=options.bundle, model=options.model, data_dir=options.data_dir)
    bundle, manifest = find_bundle(settings)

    def arguments(threads: int) -> Mapping[str, Any]:
        buckets = _buckets(fleet.in_flight)
        engine = EngineOptions(
            bundle.absolute(),
            options.runtime,
            options.precision,
            threads,
            buckets=buckets,
            max_edits=fleet.in_flight,
        )
        return {"options": engine, "timeout_s": options.timeout_s}

    return BulkRun(
        what="edit",
        job={"model": manifest.model_id, "model_sha256": manifest.model_digest},
        table=table,
        tasks=read_edits(table, bundle, manifest, options.tail),
        folder=Folder(output, edit_worker.SUFFIX),
        worker=EditWorker,
        arguments=arguments,
        fleet=fleet,
        as_json=as_json,
    )


def _buckets(in_flight: int) -> tuple[int, ...]:
    """Numbers of rows that a call of the UNet can have: no more than that many guided edits want."""
    return tuple(rows for rows in BUCKETS if rows < 2 * _ROWS_PER_EDIT * in_flight)
