"""What Prometheus reads. Oracle: prometheus_client's own parser."""

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from engine.server.body_limit import MAX_JSON_BYTES
from engine.server.messages import EditDone, Pixels, UnetCall
from engine.server.metrics import Metrics
from engine.server.services import Services


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return samples(generate_latest(metrics.registry).decode())


def test_a_call_of_the_unet_fills_the_batch_histograms() -> None:
    metrics = Metrics()
    metrics.on_call(UnetCall(rows=6, edits=3, distinct_tails=2, bucket=8, latency_ms=20.0))
    found = read(metrics)
    assert found["hiper_batch_rows_sum",] == 6 and found["hiper_batch_distinct_tails_sum",] == 2
    assert found["hiper_batch_padding_ratio_sum",] == 0.25
    assert found["hiper_unet_step_seconds_sum", "8"] == pytest.approx(0.02)


def test_edits_are_counted_by_how_they_end() -> None:
    metrics = Metrics()
    metrics.on_edit_done(EditDone(id="a", image=Pixels(1, 1, b""), text_ms=1, unet_ms=[1], decode_ms=2, total_ms=5))
    metrics.on_edit_ended("cancelled", running=True)
    metrics.on_edit_ended("cancelled", running=False)
    metrics.on_edit_ended("late", running=True)
    found = read(metrics)
    assert found["hiper_edits_total", "succeeded"] == 1 and found["hiper_edits_total", "cancelled"] == 2
    assert found["hiper_cancelled_total", "running"] == found["hiper_cancelled_total", "queued"] == 1
    assert found["hiper_deadline_missed_total",] == 1
    assert found["hiper_request_inference_seconds_sum",] == pytest.approx(0.005)


def test_fit_steps_are_spread_over_their_time() -> None:
    metrics = Metrics()
    metrics.on_fit_steps(4, 0.2)
    found = read(metrics)
    assert found["hiper_fit_step_seconds_count",] == 4 and found["hiper_fit_step_seconds_sum",] == pytest.approx(0.2)
    metrics.on_fit_steps(0, 1.0)
    assert read(metrics)["hiper_fit_step_seconds_count",] == 4


def test_a_watched_value_is_asked_for_when_it_is_read() -> None:
    metrics, values = Metrics(), {"queued": 1.0, "running": 0.0}
    for state in values:
        metrics.watch("fit_jobs", "fits by state", lambda state=state: values[state], state=state)  # type: ignore[misc]
    values["queued"] = 5.0
    found = read(metrics)
    assert (found["hiper_fit_jobs", "queued"], found["hiper_fit_jobs", "running"]) == (5, 0)


def test_requests_are_counted_by_route_and_never_by_path(client: TestClient, services: Services) -> None:
    for path in ("/v1/tails/a", "/v1/tails/b", "/nothing", "/livez"):
        client.get(path)
    found = read(services.metrics)
    assert found["hiper_requests_total", "404", "/v1/tails/{tail_id}"] == 2
    assert found["hiper_requests_total", "404", "other"] == 1
    assert found["hiper_requests_total", "200", "/livez"] == 1
    assert found["hiper_request_duration_seconds_count", "/livez"] == 1
    assert found["hiper_active_requests",] == 0


def test_refusals_are_counted_by_their_code(client: TestClient, services: Services) -> None:
    services.draining = True
    client.post("/v1/tails", files={"file": b"x"})
    assert read(services.metrics)["hiper_rejected_total", "draining"] == 1


def test_refusals_of_every_layer_are_counted_once(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/nothing", "/v1/tails?limit=0", "/v1/fits/x"):
        client.get(path)
    client.delete("/v1/tails")
    client.get("/", headers={"host": "evil.example"})
    client.patch("/v1/tails/x", content=iter([b"x" * MAX_JSON_BYTES, b"x"]))
    monkeypatch.setattr("engine.server.image_job._completed", None)
    stream = client.post("/v1/images/generations", json={"prompt": "a dog", "num_inference_steps": 1, "stream": True})
    assert stream.status_code == 200 and '"code":"internal"' in stream.text
    read_back = read(services.metrics).items()
    found = {labels[0]: value for (name, *labels), value in read_back if name == "hiper_rejected_total"}
    kinds = ("not_found", "validation_error", "fit_not_found", "method_not_allowed", "host_refused", "too_large")
    assert found == dict.fromkeys((*kinds, "internal"), 1)


def test_state_is_watched(client: TestClient, services: Services) -> None:
    found = read(services.metrics)
    assert found["hiper_queue_size", "edits"] == 0 and found["hiper_queue_size", "fits"] == 0
    assert found["hiper_worker_restarts", "edit_engine"] == 0
    assert found["hiper_draining",] == 0


def test_they_have_a_port_of_their_own() -> None:
    metrics = Metrics()
    port = metrics.serve("127.0.0.1", 0)
    try:
        assert "hiper_batch_rows_bucket" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        metrics.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
