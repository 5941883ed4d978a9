"""What `hiper-export` does once its options are understood."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from engine.bundle_files import read_manifest
from engine.errors import BundleError
from engine.manifest import Manifest
from engine.runtimes.gpu import describe_gpu
from export.build import build_bundle
from export.config import ExportConfig, PlanConfig
from export.plans import add_plans, check_model
from export.progress import Report, progress_bar
from export.termination import ending_cleanly
from hiper.cli.console import say
from hiper.models import StableDiffusion, load_model


@dataclass(frozen=True)
class ExportRun:
    """One call of `hiper-export`; the fields are its options.

    Attributes:
        config: of a bundle that is to be made.
        given: fields of `config` that were asked for by name, and that a bundle which is there must have.
        plans: how to build TensorRT plans; None builds none.
        check: whether Polygraphy compares everything once more.
    """

    model: str
    folder: Path
    config: ExportConfig
    given: Collection[str]
    clip_skip: int
    force: bool
    plans: PlanConfig | None
    check: bool

    def run(self) -> None:
        """Build a bundle, or add to the one that is there, with a bar on stderr where somebody watches."""
        if self.plans is not None:
            # A missing GPU shall not show after an hour.
            describe_gpu(self.plans.device)
        with ending_cleanly(), progress_bar() as report:
            manifest = self._manifest_there()
            report(f"loading {self.model}", 0.0)
            model = load_model(self.model, clip_skip=self.clip_skip)
            if manifest is None:
                arguments = self._arguments(self.config)
                manifest = build_bundle(model, self.folder, self.config, arguments, force=self.force, report=report)
            else:
                check_model(model, self.folder, manifest)
            if self.plans is not None:
                manifest = add_plans(model, self.folder, self.plans, report)
            compared = self._compare(model, manifest, report) if self.check else []
        _tell(manifest, compared)

    def _manifest_there(self) -> Manifest | None:
        """That of a bundle which only gets plans, or is only compared.

        Raises:
            BundleError: the bundle was made with other options than those that were given.
        """
        if self.force or not self.folder.exists() or not (self.plans or self.check):
            return None
        manifest = read_manifest(self.folder)
        found = ExportConfig.of(self.folder, manifest)
        wanted = replace(found, **{name: getattr(self.config, name) for name in self.given})
        if wanted != found:
            anew = shlex.join(["hiper-export", *self._arguments(wanted), "-o", str(self.folder), "--force"])
            raise BundleError(
                f"{self.folder} was made with {' '.join(found.arguments())}; leave out what differs, "
                f"or make it anew with: {anew}"
            )
        return manifest

    def _arguments(self, config: ExportConfig) -> tuple[str, ...]:
        clip_skip = (f"--clip-skip={self.clip_skip}",) if self.clip_skip else ()
        return (self.model, *config.arguments(), *clip_skip)

    def _compare(self, model: StableDiffusion, manifest: Manifest, report: Report) -> list[str]:
        # Polygraphy is needed for nothing else.
        from export.compare import compare

        report("comparing by Polygraphy", 1.0)
        return compare(model, self.folder, manifest, self.plans)


def _tell(manifest: Manifest, compared: list[str]) -> None:
    for name, artifact in manifest.networks.items():
        size = sum(file.size_bytes for file in artifact.files) / 2**20
        say(f"{name}: {size:.1f} MiB in {artifact.precision}, {artifact.relative_error:.1e} from PyTorch")
    for plan in manifest.plans:
        say(f"{plan.network} for {plan.gpu}: {plan.file.size_bytes / 2**20:.1f} MiB, {plan.relative_error:.1e}")
    say(f"one whole edit: {manifest.edit_psnr_db:.1f} dB from PyTorch")
    if compared:
        say(f"Polygraphy agrees about the {', '.join(compared)}")
