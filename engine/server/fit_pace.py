"""How long a running fit will go on, told by how fast it was lately."""

from collections.abc import Sequence

from engine.server.records import Event, FitRow

_BEGINNINGS = {"started", "resumed"}


def remaining_s(row: FitRow, events: Sequence[Event], now: float) -> float | None:
    """Seconds until the end of a fit; a guess, since a fit may end early.

    Args:
        row: the fit.
        events: in their order; those that `FitTable.pace` keeps tell as much as all.
        now: seconds since the epoch.

    Returns:
        None unless it runs and has told of steps twice: what goes before the first step of an attempt tells nothing of
        the pace, nor does what an earlier attempt did.
    """
    if row.state != "running":
        return None
    begun = max((index for index, event in enumerate(events) if event.kind in _BEGINNINGS), default=0)
    told = [event for event in events[begun:] if event.kind == "progress"]
    if len(told) < 2 or told[-1].data["step"] <= told[0].data["step"]:
        return None
    first, last = told[0], told[-1]
    pace_s: float = (last.at - first.at) / (last.data["step"] - first.data["step"])
    left_s: float = (row.steps - last.data["step"]) * pace_s - (now - last.at)
    return round(max(0.0, left_s), 1)
