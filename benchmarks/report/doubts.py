"""What makes a figure doubtful: other weights than those that ship, or files that differed from the commit."""

from __future__ import annotations

from functools import cache

from benchmarks.report.records import Record
from hiper.model_folder import find_folder, weights_digest

SHIPPED = "menagerie"


def doubts(record: Record) -> list[str]:
    """Reasons, as they stand beside the record's name; none where the shipped project can repeat it."""
    found = ["files differed from it"] if record.content.get("dirty") else []
    if record.settings.get("model") == SHIPPED and record.model_digest != shipped_digest():
        found.append("other weights" if record.model_digest else "unknown weights")
    return found


@cache
def shipped_digest() -> str:
    """Of the model that ships."""
    return weights_digest(find_folder(SHIPPED))
