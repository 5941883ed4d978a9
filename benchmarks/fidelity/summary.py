"""From the scores of single pictures to the figures of a record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks import bootstrap
from benchmarks.fidelity.cases import EDITS
from benchmarks.fidelity.methods import Setting
from benchmarks.fidelity.scores import Score

FIGURES = ("success", "asked", "identity_error", "subject_error", "coat_error")
# How often a probe must be right about the truth through the autoencoder before its word on other pictures counts.
TRUSTED = 0.95


def summarise(scores: Sequence[Score]) -> dict[str, Any]:
    """The results of a record: every setting's figures with intervals over identities, and against text alone."""
    settings: dict[Setting, list[Score]] = defaultdict(list)
    for score in scores:
        settings[Setting(score.method, score.knob, score.value)].append(score)
    probe = _agreements(settings.get(Setting("truth"), []))
    trusted = [name for name, share in probe.items() if share >= TRUSTED]
    plain = {setting.method: found for setting, found in settings.items() if not setting.knob}
    return {
        "probe_right_on_truth": probe,
        "trusted": trusted,
        "settings": [_row(setting, found, trusted) for setting, found in settings.items()],
        "to_text": {method: _against(found, plain["text"]) for method, found in plain.items() if "text" in plain},
    }


def by_identity(scores: Iterable[Score], figure: str, edit: str = "all") -> dict[int, float]:
    """The mean of a figure over each identity's pictures, in the order of identities."""
    values: dict[int, list[float]] = defaultdict(list)
    for score in scores:
        if edit in ("all", score.edit):
            values[score.identity].append(float(getattr(score, figure)))
    return {identity: float(np.mean(values[identity])) for identity in sorted(values)}


def _row(setting: Setting, scores: list[Score], trusted: list[str]) -> dict[str, Any]:
    return {
        **setting._asdict(),
        "pictures": len(scores),
        "identities": len({score.identity for score in scores}),
        "edits": {edit: _figures(scores, edit) for edit in ("all", *EDITS)},
        "marks": _marks(scores, trusted),
        "agreements": _agreements(scores),
        "by_identity": {
            figure: [round(value, 4) for value in by_identity(scores, figure).values()]
            for figure in ("success", "identity_error")
        },
    }


def _figures(scores: list[Score], edit: str) -> dict[str, Any]:
    return {figure: bootstrap.mean(list(by_identity(scores, figure, edit).values()))._asdict() for figure in FIGURES}


def _marks(scores: list[Score], trusted: list[str]) -> dict[str, float] | None:
    """The share of trusted attributes that are as they should be; None where no attribute is trusted."""
    if not trusted:
        return None
    values: dict[int, list[float]] = defaultdict(list)
    for score in scores:
        values[score.identity] += [float(score.agrees[name]) for name in trusted]
    return bootstrap.mean([float(np.mean(found)) for found in values.values()])._asdict()


def _agreements(scores: list[Score]) -> dict[str, float]:
    names = scores[0].agrees if scores else {}
    return {name: float(np.mean([score.agrees[name] for score in scores])) for name in names}


def _against(scores: list[Score], baseline: list[Score]) -> dict[str, Any]:
    """Ratios of the means by edit, over the identities that both have."""
    shared = {score.identity for score in scores} & {score.identity for score in baseline}
    ours, theirs = ([score for score in some if score.identity in shared] for some in (scores, baseline))

    def ratio(figure: str, edit: str) -> dict[str, float]:
        pair = (list(by_identity(some, figure, edit).values()) for some in (ours, theirs))
        return bootstrap.ratio(*pair)._asdict()

    return {edit: {figure: ratio(figure, edit) for figure in ("success", "identity_error")} for edit in ("all", *EDITS)}
