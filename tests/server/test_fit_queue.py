"""Oracle: the queue as a list of plain objects, and its order as the turns of a game in loops."""

import hashlib
import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.server.fit_queue import MAX_LOST
from engine.server.messages import FitSettings
from engine.server.records import FINAL, Claim
from engine.server.store import Store
from engine.server.store_errors import IdempotencyMismatch, QueueFull, QuotaReached
from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo
from tests.server.shared import S3, FolderPlace, Place, Postgres, SharedPlace, new_shared_place

OWNERS = ("ann", "bob", "eve")
MAX_ACTIVE, MAX_QUEUED, LEASE_S = 3, 6, 30.0
SETTINGS = FitSettings(prompt="a dog")
TAIL = serialize_tail_file(
    TailFile(
        np.ones((5, 8), np.float32),
        np.zeros((5, 8), np.float32),
        TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog"),
    )
)


@dataclass(eq=False)
class Fit:
    """What a fit should be."""

    id: str
    owner: str
    picture: bytes
    request: tuple[str, str] | None
    state: str = "queued"
    attempt: int = 0
    lost: int = 0
    checkpoint: tuple[int, bytes] | None = None
    cancel_requested: bool = False
    lease_until: float = 0.0
    kinds: list[str] = field(default_factory=lambda: ["queued"])

    def end(self, state: str) -> None:
        self.state = "cancelled" if self.cancel_requested else state
        self.checkpoint, self.cancel_requested = None, False
        self.kinds = [kind for kind in self.kinds if kind != "progress"] + [self.state]

    def queue_again(self) -> None:
        if self.cancel_requested:
            self.end("cancelled")
        else:
            self.state = "queued"
            self.kinds.append("queued")


some_claim = precondition(lambda machine: machine.claims)
some_fit = precondition(lambda machine: machine.fits)
recent = st.integers(0, 3)


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.now = 1000.0
        self.fits: list[Fit] = []
        self.claims: list[Claim] = []
        self.turns: dict[str, int] = {}
        self.place = self.new_place()
        self.store = self.open_store()

    def new_place(self) -> Place:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        return FolderPlace(Path(self.folder.name))

    def open_store(self) -> Store:
        return self.place.open(clock=lambda: self.now)

    def teardown(self) -> None:
        self.store.close()
        assert self.place.check() == []

    # What users do.

    @rule(
        owner=st.sampled_from(OWNERS),
        picture=st.sampled_from((b"1", b"2")),
        request=st.none() | st.tuples(st.sampled_from("kl"), st.sampled_from("pq")),
    )
    def submit(self, owner: str, picture: bytes, request: tuple[str, str] | None) -> None:
        wanted, known = self.expected_submission(owner, request)
        key, digest = request or (None, None)
        try:
            row, created = self.store.submit_fit(
                owner,
                "rex",
                SETTINGS,
                self.store.put_image(picture),
                idempotency_key=key,
                payload_digest=digest,
                max_active=MAX_ACTIVE,
                max_queued=MAX_QUEUED,
            )
        except (IdempotencyMismatch, QuotaReached, QueueFull) as refusal:
            assert wanted is type(refusal)
        else:
            assert wanted is created
            if created:
                self.fits.append(Fit(row.id, owner, picture, request))
            else:
                assert known and row.id == known.id

    def expected_submission(self, owner: str, request: tuple[str, str] | None) -> tuple[type | bool, Fit | None]:
        for fit in self.fits:
            if request and fit.request and fit.owner == owner and fit.request[0] == request[0]:
                return (False, fit) if fit.request == request else (IdempotencyMismatch, None)
        if sum(fit.owner == owner and fit.state not in FINAL for fit in self.fits) >= MAX_ACTIVE:
            return QuotaReached, None
        if sum(fit.state == "queued" for fit in self.fits) >= MAX_QUEUED:
            return QueueFull, None
        return True, None

    @some_fit
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.cancel_fit(data.draw(st.sampled_from(self.fits)))

    @some_claim
    @rule(back=recent)
    def cancel_claimed(self, back: int) -> None:
        if fit := self.current(self.recent_claim(back)):
            self.cancel_fit(fit)

    def cancel_fit(self, fit: Fit) -> None:
        assert self.store.cancel_fit("stranger", fit.id) is None
        row = self.store.cancel_fit(fit.owner, fit.id)
        if fit.state == "queued":
            fit.end("cancelled")
        elif fit.state == "running":
            fit.cancel_requested = True
        assert row and row.state == fit.state

    @some_fit
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        fit = data.draw(st.sampled_from(self.fits))
        assert self.store.delete_fit(fit.owner, fit.id) == (fit.state in FINAL)
        if fit.state in FINAL:
            self.fits.remove(fit)

    # What workers do; a claim may have been overtaken long ago.

    @rule()
    def claim(self) -> None:
        claim = self.store.claim_fit(LEASE_S)
        queue = self.expected_queue()
        if claim is None:
            assert not queue
            return
        fit = queue[0]
        fit.kinds.append("resumed" if fit.attempt else "started")
        fit.state, fit.attempt, fit.lease_until = "running", fit.attempt + 1, self.now + LEASE_S
        self.turns[fit.owner] = max(self.turns.values(), default=0) + 1
        assert (claim.fit.id, claim.fit.attempt) == (fit.id, fit.attempt)
        assert claim.checkpoint == (fit.checkpoint and fit.checkpoint[1])
        assert claim.fit.step == (fit.checkpoint[0] if fit.checkpoint else 0)
        self.claims.append(claim)

    def expected_queue(self) -> list[Fit]:
        queue: list[Fit] = []
        for begun in (True, False):
            waiting = {
                owner: [fit for fit in self.fits if (fit.state, fit.owner, fit.attempt > 0) == ("queued", owner, begun)]
                for owner in OWNERS
            }
            while any(waiting.values()):
                first = [fits[0] for fits in waiting.values() if fits]
                for fit in sorted(first, key=lambda fit: (self.turns.get(fit.owner, 0), self.fits.index(fit))):
                    queue.append(fit)
                    waiting[fit.owner].remove(fit)
        return queue

    def recent_claim(self, back: int) -> Claim:
        return self.claims[max(0, len(self.claims) - 1 - back)]

    def current(self, claim: Claim) -> Fit | None:
        """The fit of a claim, if that one still holds it."""
        for fit in self.fits:
            if (fit.id, fit.attempt, fit.state) == (claim.fit.id, claim.fit.attempt, "running"):
                return fit
        return None

    @some_claim
    @rule(back=recent)
    def step(self, back: int) -> None:
        claim = self.recent_claim(back)
        fit = self.current(claim)
        wanted = fit is not None and not fit.cancel_requested
        assert self.store.record_step(claim.fit.id, claim.fit.fence, 7, 100, [0.5], LEASE_S) == wanted
        if fit and wanted:
            fit.lease_until = self.now + LEASE_S
            fit.kinds.append("progress")

    @some_claim
    @rule(back=recent, step=st.integers(1, 3))
    def checkpoint(self, back: int, step: int) -> None:
        claim = self.recent_claim(back)
        fit, data = self.current(claim), str((claim.fit.fence, step)).encode()
        assert self.store.record_checkpoint(claim.fit.id, claim.fit.fence, step, data) == (fit is not None)
        if fit:
            if step > (fit.checkpoint[0] if fit.checkpoint else 0):
                fit.lost = 0
            fit.checkpoint = (step, data)
            fit.kinds.append("checkpoint")

    @some_claim
    @rule(back=recent)
    def preview(self, back: int) -> None:
        claim = self.recent_claim(back)
        fit = self.current(claim)
        assert self.store.record_preview(claim.fit.id, claim.fit.fence, 1, b"preview") == (fit is not None)
        if fit:
            fit.kinds.append("preview")

    @some_claim
    @rule(back=recent)
    def finish(self, back: int) -> None:
        claim = self.recent_claim(back)
        fit = self.current(claim)
        tail = self.store.finish_fit(claim.fit.id, claim.fit.fence, TAIL)
        assert (tail is not None) == (fit is not None and not fit.cancel_requested)
        if fit:
            fit.end("succeeded")

    @some_claim
    @rule(back=recent)
    def fail(self, back: int) -> None:
        claim = self.recent_claim(back)
        fit = self.current(claim)
        error = {"code": "infinite", "message": "its loss is infinite"}
        assert self.store.fail_fit(claim.fit.id, claim.fit.fence, error) == (fit is not None)
        if fit:
            fit.end("failed")

    @some_claim
    @rule(back=recent, counts=st.booleans())
    def requeue(self, back: int, counts: bool) -> None:
        claim = self.recent_claim(back)
        fit = self.current(claim)
        assert self.store.requeue_fit(claim.fit.id, claim.fit.fence, counts=counts) == (fit is not None)
        if fit:
            self.lose(fit, counts)

    def lose(self, fit: Fit, counts: bool) -> None:
        fit.lost += counts and not fit.cancel_requested
        if fit.lost == MAX_LOST:
            fit.end("failed")
        else:
            fit.queue_again()

    # What the world does.

    @rule(seconds=st.sampled_from((1.0, 20.0, 31.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        expired = [fit for fit in self.fits if fit.state == "running" and fit.lease_until < self.now]
        found = self.store.expired_fits()
        assert {row.id for row in found} == {fit.id for fit in expired}
        for row, fit in zip(
            sorted(found, key=lambda row: row.id), sorted(expired, key=lambda fit: fit.id), strict=True
        ):
            assert self.store.requeue_fit(row.id, row.fence, counts=True)
            self.lose(fit, True)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.open_store()
        running = [fit for fit in self.fits if fit.state == "running" and self.is_lost(fit)]
        assert self.store.recover() == sum(not fit.cancel_requested for fit in running)
        for fit in running:
            fit.queue_again()

    def is_lost(self, fit: Fit) -> bool:
        """Whether nobody can be at it when a server starts."""
        return True

    # What must be true.

    @invariant()
    def every_fit_is_as_expected(self) -> None:
        for owner in OWNERS:
            rows = self.store.fits(owner)
            fits = [fit for fit in self.fits if fit.owner == owner][::-1]
            assert [(row.id, row.state, row.attempt, row.fence, row.cancel_requested) for row in rows] == [
                (fit.id, fit.state, fit.attempt, fit.attempt, fit.cancel_requested) for fit in fits
            ]
            made = {row.tail_id for row in rows if row.tail_id}
            assert len(made) == sum(fit.state == "succeeded" for fit in fits)
            assert {tail.id for tail in self.store.tails(owner)} == made

    @invariant()
    def the_queue_is_in_order(self) -> None:
        positions = {fit.id: self.store.queue_position(fit.id) for fit in self.fits}
        queue = {fit.id: position for position, fit in enumerate(self.expected_queue(), 1)}
        assert positions == {fit.id: queue.get(fit.id) for fit in self.fits}

    @invariant()
    def the_story_is_whole(self) -> None:
        for fit in self.fits:
            events = self.store.events(fit.id)
            assert [event.kind for event in events] == fit.kinds
            assert [event.seq for event in events] == sorted({event.seq for event in events})

    @invariant()
    def no_picture_is_missing_or_left_over(self) -> None:
        wanted = {fit.picture for fit in self.fits} | {b"preview" for fit in self.fits if "preview" in fit.kinds}
        assert self.place.names() == {hashlib.sha256(picture).hexdigest() for picture in wanted}


class SharedQueueMachine(QueueMachine):
    """The same in a shared store, where other servers may be at what runs when one starts."""

    servers: ClassVar[tuple[Postgres, S3]]

    def new_place(self) -> SharedPlace:
        return new_shared_place(*self.servers)

    def is_lost(self, fit: Fit) -> bool:
        return fit.lease_until < self.now


@pytest.fixture(scope="module", autouse=True)
def servers(postgres: Postgres, s3: S3) -> None:
    SharedQueueMachine.servers = postgres, s3


def opened(place: Place, fits: int = 1) -> Store:
    store = place.open()
    for _ in range(fits):
        store.submit_fit("ann", "rex", SETTINGS, store.put_image(b"picture"), max_active=9, max_queued=9)
    return store


def claim(store: Store) -> tuple[str, int]:
    claim = store.claim_fit(LEASE_S)
    assert claim
    return claim.fit.id, claim.fit.fence


def state(store: Store, id: str) -> str:
    fit = store.fit("ann", id)
    assert fit
    return fit.state


def test_a_fit_that_loses_its_worker_three_times_at_one_place_has_failed(place: Place) -> None:
    with closing(opened(place)) as store:
        for step in (1, 2):
            held = claim(store)
            assert store.record_checkpoint(*held, step, b"further")
            assert store.requeue_fit(*held, counts=True)
            for _ in range(MAX_LOST - 2):
                assert store.requeue_fit(*claim(store), counts=True)
        held = claim(store)
        assert store.requeue_fit(*held, counts=True)
        fit = store.fit("ann", held[0])
        assert fit and fit.state == "failed" and fit.error and fit.error["code"] == "poison"


def test_a_fit_that_was_stopped_is_never_given_up(place: Place) -> None:
    with closing(opened(place)) as store:
        for _ in range(2 * MAX_LOST):
            id, fence = claim(store)
            assert store.requeue_fit(id, fence, counts=False)
        assert state(store, id) == "queued"


def test_an_attempt_that_was_overtaken_changes_nothing(place: Place) -> None:
    with closing(opened(place)) as store:
        id, fence = claim(store)
        store.requeue_fit(id, fence, counts=True)
        assert claim(store) == (id, fence + 1)
        before = store.fit("ann", id), store.events(id)
        assert not store.record_step(id, fence, 1, 2, [0.5], LEASE_S)
        assert not store.record_checkpoint(id, fence, 1, b"stale")
        assert not store.record_preview(id, fence, 1, b"stale")
        assert store.finish_fit(id, fence, TAIL) is None
        assert not store.fail_fit(id, fence, {"code": "x", "message": "y"})
        assert not store.requeue_fit(id, fence, counts=True)
        assert (store.fit("ann", id), store.events(id)) == before


@pytest.mark.parametrize("outcome", ["finish", "fail", "requeue"])
def test_a_cancel_comes_before_every_other_outcome(place: Place, outcome: str) -> None:
    with closing(opened(place)) as store:
        id, fence = claim(store)
        row = store.cancel_fit("ann", id)
        assert row and row.state == "running" and row.cancel_requested
        assert not store.record_step(id, fence, 1, 2, [0.5], LEASE_S)
        if outcome == "finish":
            assert store.finish_fit(id, fence, TAIL) is None
        elif outcome == "fail":
            assert store.fail_fit(id, fence, {"code": "x", "message": "y"})
        else:
            assert store.requeue_fit(id, fence, counts=True)
        assert state(store, id) == "cancelled"
        assert store.tails("ann") == []


def test_a_cancel_comes_before_a_restart(place: Place) -> None:
    with closing(opened(place)) as store:
        id, _ = claim(store)
        store.cancel_fit("ann", id)
    with closing(place.open(clock=lambda: time.time() + 2 * LEASE_S)) as store:
        assert store.recover() == 0
        assert state(store, id) == "cancelled"


def test_a_sign_of_life_extends_the_lease(place: Place) -> None:
    now = 0.0
    opened(place).close()
    with closing(place.open(clock=lambda: now)) as store:
        id, fence = claim(store)
        now = LEASE_S - 1
        assert store.record_step(id, fence, 1, 2, [0.5], LEASE_S)
        now = 2 * LEASE_S - 2
        assert store.expired_fits() == []
        now = 2 * LEASE_S
        assert [fit.id for fit in store.expired_fits()] == [id]


TestFitQueue = QueueMachine.TestCase
TestFitQueue.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSharedFitQueue = SharedQueueMachine.TestCase
TestSharedFitQueue.settings = settings(max_examples=6, stateful_step_count=40, deadline=None)
