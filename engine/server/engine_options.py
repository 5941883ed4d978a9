"""How the edit engine is to run: options of the front, arguments of its process."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.runtimes import Precision
from engine.runtimes.buckets import BUCKETS


@dataclass(frozen=True)
class EngineOptions:
    """What the edit engine is started with.

    Attributes:
        bundle: folder that `hiper-export` wrote.
        runtime: as for `open_bundle`.
        precision: as in `RuntimeOptions`, as are the next two.
        threads: CPU threads of one call; None takes all cores.
        device: index of the GPU.
        buckets: the numbers of rows that the UNet is called with, growing.
        max_edits: that may be under way at once.
    """

    bundle: Path
    runtime: str = "auto"
    precision: Precision = "fast"
    threads: int | None = None
    device: int = 0
    buckets: tuple[int, ...] = BUCKETS
    max_edits: int = 64

    def arguments(self) -> list[str]:
        """Options as `parse_arguments` reads them."""
        found = {
            "--bundle": str(self.bundle),
            "--runtime": self.runtime,
            "--precision": self.precision,
            "--device": str(self.device),
            "--buckets": ",".join(map(str, self.buckets)),
            "--max-edits": str(self.max_edits),
        }
        if self.threads is not None:
            found["--threads"] = str(self.threads)
        return [f"{name}={value}" for name, value in found.items()]


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[EngineOptions, int]:
    """Read the arguments of the edit engine's process: its options, and the number of its socket."""
    parser = ArgumentParser(
        "engine.server.edit_process", description="The edit engine of hiper-serve, which starts it."
    )
    parser.add_argument("--fd", type=int, required=True, help="number of an open socket")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", choices=("exact", "fast"), default="fast")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--buckets", type=_numbers, default=BUCKETS)
    parser.add_argument("--max-edits", type=int, default=64)
    found = vars(parser.parse_args(arguments))
    fd: int = found.pop("fd")
    return EngineOptions(**found), fd


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))
