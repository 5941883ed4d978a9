"""What hiper-serve put into its calls of the UNet, as its own metrics tell."""

from __future__ import annotations

import http.client

from prometheus_client.parser import text_string_to_metric_families

HISTOGRAMS = ("hiper_batch_rows", "hiper_batch_distinct_tails")


def read_batches(port: int) -> dict[str, dict[str, float]]:
    """Both histograms since the server began.

    Returns:
        By histogram, calls by the highest number that their bucket holds, and the "mean".
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {name.removeprefix("hiper_"): found for name, found in _histograms(text).items()}


def since(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """What came between two readings: calls by bucket without the empty ones, their number and their mean."""
    return {name: _between(before[name], after[name]) for name in after}


def _histograms(text: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name in HISTOGRAMS:
            found[family.name] = {
                sample.labels.get("le", sample.name.removeprefix(family.name)): sample.value
                for sample in family.samples
            }
    return found


def _between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    grown = {name: after[name] - before[name] for name in after}
    calls, total = grown.pop("_count"), grown.pop("_sum")
    grown.pop("_created", None)
    inside: dict[str, float] = {}
    below = 0.0
    for bound, at_most in grown.items():  # Prometheus counts all buckets below along
        if at_most > below:
            inside[bound.removesuffix(".0")] = at_most - below
        below = at_most
    return {"calls": calls, "mean": total / calls if calls else 0.0, **inside}
