"""Are the figures of B better or worse than those of A, or does noise explain the difference?"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import comparable
from benchmarks.report.figures import Figure, figures_of
from benchmarks.report.page import Table
from benchmarks.report.records import Record, RecordError

Verdict = Literal["better", "worse", "same", "unclear", "gone"]

# Of a figure of which there is one sample a side, such as memory: a guess at what is noise.
_SINGLE = 0.1


@dataclass(frozen=True)
class Change:
    """What became of one figure.

    Attributes:
        record: name of the record.
        figure: name of the figure.
        before: median in A.
        after: median in B; None where B lacks the figure.
        unit: of both.
        ratio: after to before with its 95 % interval; None where there is none.
        verdict: what follows.
    """

    record: str
    figure: str
    before: float
    after: float | None
    unit: str
    ratio: bootstrap.Estimate | None
    verdict: Verdict


def compare(before: Sequence[Record], after: Sequence[Record], threshold: float = 0.05) -> list[Change]:
    """Compare all figures of A's records with those of B; of a record that B lacks, all are gone.

    Several runs of a record on one side are resampled as runs, which is the only way to see the noise between runs;
    with one run a side, `threshold` stands for it.

    Args:
        before: side A.
        after: side B.
        threshold: share by which a figure may differ and still count as the same.

    Raises:
        RecordError: nothing is on both sides, or a pair differs in hardware, weights or settings.
    """
    compared = (record.name for record in before if record.kind not in ("suite", "floors"))
    names = list(dict.fromkeys(compared))
    pairs = {name: (_named(before, name), _named(after, name)) for name in names}
    if not any(theirs for _, theirs in pairs.values()):
        raise RecordError("A and B have no record of the same script and model; measure both with the same suite")
    for mine, theirs in pairs.values():
        for other in [*mine[1:], *theirs]:
            if reason := comparable(mine[0], other):
                raise RecordError(f"the figures cannot be compared: {reason}; measure both alike")
    return [change for name, sides in pairs.items() for change in _changes(name, *sides, threshold)]


def _named(records: Sequence[Record], name: str) -> list[Record]:
    return [record for record in records if record.name == name]


def _changes(name: str, before: list[Record], after: list[Record], threshold: float) -> Iterator[Change]:
    here, there = ([figures_of(record) for record in side] for side in (before, after))
    for figure_name, figure in here[-1].items():
        mine, theirs = ([run[figure_name] for run in side if figure_name in run] for side in (here, there))
        if not theirs:
            yield Change(name, figure_name, figure.estimate.value, None, figure.unit, None, "gone")
            continue
        yield Change(name, figure_name, _median(mine), _median(theirs), figure.unit, *_judge(mine, theirs, threshold))


def _median(runs: list[Figure]) -> float:
    return statistics.median(sample for run in runs for sample in run.samples)


def _judge(before: list[Figure], after: list[Figure], threshold: float) -> tuple[bootstrap.Estimate | None, Verdict]:
    """Worse or better only where the whole interval lies beyond the threshold, the same only where it lies within."""
    above, below = ([run.samples for run in runs] for runs in (after, before))
    if min(abs(sample) for run in below for sample in run) == 0:
        same = [sorted(run) for run in above] == [sorted(run) for run in below]
        return None, "same" if same else "unclear"
    ratio = bootstrap.median_ratio(above, below)
    if sum(map(len, above)) == 1 or sum(map(len, below)) == 1:
        threshold = max(threshold, _SINGLE)
    low, high = (ratio.low, ratio.high) if before[0].less_is_better else (1 / ratio.high, 1 / ratio.low)
    if low > 1 + threshold:
        return ratio, "worse"
    if high < 1 / (1 + threshold):
        return ratio, "better"
    return ratio, "same" if low >= 1 / (1 + threshold) and high <= 1 + threshold else "unclear"


def table(changes: Sequence[Change], every: bool = False) -> Table:
    """A row a figure whose verdict is not "same", or of all; then how many of each verdict there are."""
    counts = Counter(change.verdict for change in changes)
    note = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    rows = [_row(change) for change in changes if every or change.verdict != "same"]
    return Table(("figure", "A", "B", "B / A", "verdict"), rows, f"{len(changes)} figures: {note}.")


def _row(change: Change) -> list[str]:
    after = text.NONE if change.after is None else f"{text.number(change.after)} {change.unit}"
    ratio = text.NONE if change.ratio is None else text.estimate(change.ratio)
    before = f"{text.number(change.before)} {change.unit}"
    return [f"{change.record}: {change.figure}", before.strip(), after.strip(), ratio, change.verdict]
