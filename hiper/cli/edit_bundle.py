"""`hiper-edit --bundle`: what `hiper-export` wrote makes the pictures, in a process without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from engine.bundle import open_bundle
from engine.runtimes import RuntimeOptions
from engine.schedule import step_table
from engine.tail_file import read_tail_file
from hiper.cli.bundle_edits import BundleEdits
from hiper.cli.console import messages, say
from hiper.cli.edit_run import EditRun, Loaded
from hiper.cli.options import Precision, Runtime


@dataclass(frozen=True)
class BundleEditRun(EditRun):
    """One call of `hiper-edit` with `--bundle`."""

    batch_size: ClassVar[int] = 1  # pictures go together, but the callback counts each

    bundle: Path
    runtime: Runtime
    precision: Precision

    def load(self) -> Loaded:
        """Read the tail and open the bundle."""
        tail = read_tail_file(self.tail)
        with messages().status(f"opening {self.bundle}"):
            bundle = open_bundle(self.bundle, self.runtime, RuntimeOptions(self.precision))
        say(f"{bundle.manifest.model_id} by {bundle.runtime}: {bundle.reason}")
        facts = {
            "model": bundle.manifest.model_id,
            "model_sha256": bundle.manifest.model_digest,
            "execution": {"bundle": self.bundle, "runtime": bundle.runtime, "precision": self.precision},
        }
        timesteps = partial(step_table, bundle.manifest.schedule.load())
        return Loaded(tail, BundleEdits(bundle), bundle.manifest.edit_defaults, timesteps, facts)
