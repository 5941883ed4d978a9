"""What an engine's work costs, as records of benchmarks.rows, benchmarks.edit and benchmarks.serve have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.capacity.simulation import Costs
from benchmarks.report.records import Record, RecordError, newest
from engine.runtimes.buckets import BUCKETS

OURS = "hiper-serve"


@dataclass(frozen=True)
class Measured:
    """What was measured of one model in one way.

    Attributes:
        rows: record of steps, by edits in the batch.
        edit: record of whole edits, for the text encoder and the decoder.
        serve: record of a server, with whose figures a simulation can be compared; None if there is none.
        way: of `benchmarks.ways`.
    """

    rows: Record
    edit: Record
    serve: Record | None
    way: str

    def costs(self, text_ms: float | None = None) -> Costs:
        """The samples.

        Args:
            text_ms: of a prompt that the server has not seen; what the record says if None, which is next to nothing,
                since its prompts are always the same.
        """
        found = self.rows.results[self.way]
        step_ms = {
            2 * int(count): tuple((tails.get("distinct") or tails["shared"])["samples_ms"])
            for count, tails in found.items()
            if 2 * int(count) in BUCKETS
        }
        stages = self.edit.results[self.way]["stages"]
        text = tuple(stages["text_ms"]) if text_ms is None else (text_ms,)
        return Costs(dict(sorted(step_ms.items())), text, tuple(stages["decode_ms"]))

    @property
    def outside_ms(self) -> float:
        """What HTTP and the front add to a latency; 0 where no server was measured."""
        overhead = self.serve.results.get("overhead", {}) if self.serve else {}
        return float(overhead["outside engine"]["median_ms"]) if "outside engine" in overhead else 0.0


def choose(records: Sequence[Record], way: str | None = None) -> Measured:
    """Pick what belongs together: the newest record of each kind.

    Args:
        records: among them one of benchmarks.rows and one of benchmarks.edit, of the same weights.
        way: that they have in common; may be left out if it is one.

    Raises:
        RecordError: one is missing, they are of different models, or the way is not clear.
    """
    kinds = {record.kind: record for record in newest(records)}
    for kind in ("rows", "edit"):
        if kind not in kinds:
            raise RecordError(f"there is no {kind} record; measure with: python -m benchmarks.{kind} --help")
    rows, edit, serve = kinds["rows"], kinds["edit"], kinds.get("serve")
    for record in (edit, serve):
        if record is not None and record.model_digest != rows.model_digest:
            raise RecordError(f"{record.path} and {rows.path} are of different weights; name records of one model")
    ways = [name for name in rows.results if name in edit.results]
    if way is None and len(ways) != 1:
        raise RecordError(f"the records have {', '.join(ways) or 'no way'} in common; choose one with --way")
    if way is not None and way not in ways:
        raise RecordError(f"way {way} is not in both records but {', '.join(ways) or 'none'} is; choose among these")
    return Measured(rows, edit, serve, way or ways[0])
