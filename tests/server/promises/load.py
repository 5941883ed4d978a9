"""Clients of all kinds at once, for as long as one likes; whatever one of them sees that should not be, is kept."""

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.server.promises.client import CLIENT
from tests.server.promises.deployment import FINAL, Deployment
from tests.server.promises.edits import GENERATE, ask, leave, wish
from tests.server.promises.fits import fit_form, picture

# For one request; the server itself gives an edit 120 s.
TIMEOUT_S = 150.0
FIT_S = 600.0

BAD_BODIES: list[tuple[str, dict[str, Any]]] = [
    (GENERATE, {"content": b"{", "headers": {"content-type": "application/json"}}),
    (GENERATE, {"json": {"prompt": "a dog", "colour": "red"}}),
    (GENERATE, {"json": {"prompt": "a dog", "num_inference_steps": 10**6}}),
    (GENERATE, {"json": {"prompt": "a " * 1000}}),
    (GENERATE, {"json": {"prompt": "a dog", "tail": "tail_unknown"}}),
    (GENERATE, {"json": {"prompt": "a dog", "tail_file": "AAAA"}}),
    ("/v1/images/edits", {"data": {"prompt": "a dog"}, "files": {"image": picture()[:500]}}),
    ("/v1/images/edits", {"data": {"prompt": "a dog"}, "files": {"image": b"GIF89a" + bytes(2**20)}}),
    ("/v1/fits", {"data": {"prompt": "a dog"}, "files": {"image": b"no picture"}}),
    ("/v1/tails", {"files": {"file": b"no tail"}}),
    ("/v1/nothing", {"json": {}}),
]


@dataclass
class Load:
    """Who asks what of a deployment, with which tail file, what came of it, and the ids of all requests for edits."""

    deployment: Deployment
    tail: bytes
    counts: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def run(self, seconds: float, seed: int) -> None:
        """Let all clients work for some time, and come back when every answer is there."""
        end = time.monotonic() + seconds
        kinds = (self._edit, self._edit, self._edit, self._leave, self._cancel, self._bad, self._tails, self._fit)
        threads = [
            threading.Thread(target=self._work, args=(kind, random.Random(f"{seed} {number}"), end))
            for number, kind in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + FIT_S)
            if thread.is_alive():
                self.mistakes.append(f"{thread.name} is stuck")

    def _work(self, kind: Callable[[random.Random], str], chance: random.Random, end: float) -> None:
        while time.monotonic() < end:
            try:
                self.counts[kind(chance)] += 1
            except Exception:
                self.mistakes.append(traceback.format_exc())

    def _edit(self, chance: random.Random) -> str:
        ended = ask(self.deployment.url, self._wish(chance), TIMEOUT_S)
        self.requests.append(ended.id)
        assert ended.what in ("image", "busy"), ended.what
        return f"edit: {ended.what}"

    def _leave(self, chance: random.Random) -> str:
        after_s = chance.choice([0.0, chance.uniform(0, 0.05)])
        self.requests.append(leave(self.deployment.url, self._wish(chance), after_s, chance.random() < 0.5).id)
        return "edit: left"

    def _cancel(self, chance: random.Random) -> str:
        id = f"cancelled-{chance.getrandbits(64):x}"
        self.requests.append(id)
        timer = threading.Timer(chance.uniform(0, 0.1), self._cancel_by_name, (id,))
        timer.start()
        ended = ask(self.deployment.url, self._wish(chance), TIMEOUT_S, id)
        timer.join()
        assert ended.what in ("image", "busy", "edit_cancelled"), ended.what
        return f"cancelled edit: {ended.what}"

    def _cancel_by_name(self, id: str) -> None:
        with suppress(httpx.TransportError):
            CLIENT.post(f"{self.deployment.url}/v1/requests/{id}/cancel", timeout=TIMEOUT_S)

    def _bad(self, chance: random.Random) -> str:
        path, options = chance.choice(BAD_BODIES)
        answer = self._send("POST", path, **options)
        assert 400 <= answer.status_code < 500, (path, answer.status_code, answer.text)
        return f"bad: {answer.status_code}"

    def _tails(self, chance: random.Random) -> str:
        """A tail comes, is looked at, used and goes."""
        added = self._send("POST", "/v1/tails", files={"file": self.tail}, data={"name": "Rex"})
        place = added.headers["location"]
        assert self._send("GET", f"{place}/content").content == self.tail
        used = ask(self.deployment.url, wish(chance, tail=added.json()["id"]), TIMEOUT_S)
        assert used.what in ("image", "busy"), used.what
        self._send("PATCH", place, json={"name": "Bello"})
        self._send("GET", "/v1/tails", params={"limit": 5})
        assert self._send("DELETE", place).status_code == 204
        assert self._send("GET", place).status_code == 404
        return "tail"

    def _fit(self, chance: random.Random) -> str:
        """A fit is asked for, sometimes cancelled, followed to its end, and deleted with its tail."""
        form = fit_form(chance.randrange(100), steps=chance.randint(1, 60))
        form["files"] = {"image": picture(chance.randrange(100))}
        place = self._send("POST", "/v1/fits", **form).headers["location"]
        wanted = "cancelled" if chance.random() < 0.3 else "succeeded"
        if wanted == "cancelled":
            time.sleep(chance.uniform(0, 0.5))
            self._send("POST", f"{place}/cancel")
        state = self._end_of(place)
        assert state in (wanted, "succeeded"), state
        assert self._send("DELETE", place).status_code == 204
        return f"fit: {state}"

    def _end_of(self, place: str) -> str:
        end = time.monotonic() + FIT_S
        while time.monotonic() < end:
            with CLIENT.stream("GET", f"{self.deployment.url}{place}/events", timeout=TIMEOUT_S) as answer:
                for line in answer.iter_lines():
                    if line.removeprefix("event: ") in FINAL:
                        break
                state: str = self._send("GET", place).json()["status"]
            if state in FINAL:
                return state
        raise AssertionError(f"{place} never ends")

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = CLIENT.request(method, self.deployment.url + path, timeout=TIMEOUT_S, **options)
        assert answer.status_code < 500, (path, answer.status_code, answer.text)
        return answer

    def _wish(self, chance: random.Random) -> dict[str, Any]:
        body = wish(chance, num_inference_steps=chance.randint(1, 100))
        if body["stream"]:
            body["partial_images"] = chance.randint(0, 3)
        return body
