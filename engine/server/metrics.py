"""What Prometheus is told; every name begins with `hiper_`, every unit is a base unit."""

from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server

from engine.server.messages import EditDone, EndReason, EngineReady, UnetCall

_ROWS = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STEP_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


class Metrics:
    """One registry of its own, so that several servers fit in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._server: WSGIServer | None = None
        self._watched: dict[str, Gauge] = {}
        count, spread, level = self._counter, self._histogram, self._gauge
        self.requests = count("requests", "HTTP requests answered", "route", "code")
        self.request_seconds = spread("request_duration_seconds", "from request to the last byte", _SECONDS, "route")
        self.active_requests = level("active_requests", "HTTP requests under way")
        self.edits = count("edits", "edits that ended, by how", "outcome")
        self.edit_queue_seconds = spread("request_queue_seconds", "from asking for an edit to its first step", _SECONDS)
        self.edit_seconds = spread("request_inference_seconds", "from an edit's beginning to its picture", _SECONDS)
        self.first_preview_seconds = spread("first_preview_seconds", "from a request to its first preview", _SECONDS)
        self.batch_rows = spread("batch_rows", "rows wanted of one UNet call", _ROWS)
        self.batch_distinct_tails = spread("batch_distinct_tails", "different tails in one UNet call", _ROWS)
        self.batch_padding = spread("batch_padding_ratio", "part of a UNet call that nobody wanted", _RATIOS)
        self.unet_seconds = spread("unet_step_seconds", "one UNet call", _STEP_SECONDS, "bucket")
        self.text_seconds = spread("text_encode_seconds", "the prompts of one edit", _STEP_SECONDS)
        self.decode_seconds = spread("vae_decode_seconds", "latents to pixels", _STEP_SECONDS)
        self.refused = count("rejected", "requests refused, by the error's code", "reason")
        self.cancelled = count("cancelled", "edits cancelled, by when", "phase")
        self.missed_deadlines = count("deadline_missed", "edits that had no picture in time")
        self.fit_step_seconds = spread("fit_step_seconds", "one step of a fit", _STEP_SECONDS)
        self.fits = count("fits", "fits that ended, by how", "outcome")
        self.resumed_fits = count("fit_resumed", "fits taken up again from a checkpoint")
        self.engine_info = Info("hiper_engine", "what runs the edits", registry=self.registry)

    def on_engine(self, ready: EngineReady) -> None:
        """An edit engine became ready."""
        names = ("model_id", "model_digest", "runtime", "precision")
        self.engine_info.info({name: str(getattr(ready, name)) for name in names})

    def on_call(self, call: UnetCall) -> None:
        """The UNet was called."""
        self.batch_rows.observe(call.rows)
        self.batch_distinct_tails.observe(call.distinct_tails)
        self.batch_padding.observe(1 - call.rows / call.bucket)
        self.unet_seconds.labels(call.bucket).observe(call.latency_ms / 1e3)

    def on_edit_done(self, done: EditDone) -> None:
        """An edit has its picture."""
        self.edits.labels("succeeded").inc()
        self.edit_seconds.observe(done.total_ms / 1e3)
        self.text_seconds.observe(done.text_ms / 1e3)
        self.decode_seconds.observe(done.decode_ms / 1e3)

    def on_edit_ended(self, reason: EndReason, running: bool) -> None:
        """An edit ended without a picture, after its first step (`running`) or before."""
        self.edits.labels(reason).inc()
        if reason == "cancelled":
            self.cancelled.labels("running" if running else "queued").inc()
        elif reason == "late":
            self.missed_deadlines.inc()

    def on_fit_steps(self, steps: int, seconds: float) -> None:
        """A fit took some steps in some time."""
        for _ in range(steps):
            self.fit_step_seconds.observe(seconds / steps)

    def on_fit_end(self, outcome: str) -> None:
        """A fit "succeeded", "failed" or was "cancelled"."""
        self.fits.labels(outcome).inc()

    def on_fit_resumed(self) -> None:
        """A fit went on from a checkpoint."""
        self.resumed_fits.inc()

    def watch(self, name: str, help: str, value: Callable[[], float], **labels: str) -> None:
        """Ask for a gauge's value when Prometheus asks for it; the labels of one name may be watched one by one."""
        gauge = self._watched.setdefault(name, self._watched.get(name) or self._gauge(name, help, *labels))
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    def serve(self, host: str, port: int) -> int:
        """Answer Prometheus from a thread of its own; returns the port, of which 0 takes a free one."""
        self._server, _ = start_http_server(port, host, self.registry)
        return int(self._server.server_port)

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"hiper_{name}", help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"hiper_{name}", help, labels, registry=self.registry, buckets=buckets)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(f"hiper_{name}", help, labels, registry=self.registry)
