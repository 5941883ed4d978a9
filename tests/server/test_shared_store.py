"""Oracle: what one server alone does, and sums: of several servers together nobody gets more or less.

Servers are stores of their own, which share nothing in this process.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from typing import Any

import psycopg
import pytest

from engine.server.records import FitRow
from engine.server.shared_store import SharedStore
from engine.server.store_errors import IdempotencyMismatch, QuotaReached, StoreError
from tests.server.conftest import wait_until
from tests.server.shared import SharedPlace
from tests.server.test_store import SETTINGS, TAIL

LEASE_S = 30.0


@pytest.fixture
def fronts(shared_place: SharedPlace) -> Iterator[tuple[SharedStore, SharedStore]]:
    """Two servers' stores; in the end all is in order, and no picture is left over."""
    with closing(shared_place.open()) as first, closing(shared_place.open()) as second:
        yield first, second
    assert shared_place.check() == []
    assert shared_place.pins() == 0


def submit(store: SharedStore, max_active: int = 1000, **request: str) -> FitRow:
    image = store.put_image(b"picture")
    return store.submit_fit("ann", "rex", SETTINGS, image, max_active=max_active, max_queued=1000, **request)[0]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that are begun together, or their refusals."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except (QuotaReached, IdempotencyMismatch) as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_each_fit_is_claimed_once(fronts: tuple[SharedStore, SharedStore]) -> None:
    wanted = {submit(fronts[0]).id for _ in range(12)}

    def claim_all(store: SharedStore) -> list[str]:
        claimed = []
        while claim := store.claim_fit(LEASE_S):
            claimed.append(claim.fit.id)
        return claimed

    claims = at_once(*[partial(claim_all, store) for store in fronts * 2])
    assert sorted(id for claimed in claims for id in claimed) == sorted(wanted)


def test_a_server_that_starts_leaves_others_their_fits(shared_place: SharedPlace) -> None:
    now = 1000.0
    with (
        closing(shared_place.open(clock=lambda: now)) as first,
        closing(shared_place.open(clock=lambda: now)) as second,
    ):
        fit = submit(first)
        assert first.claim_fit(LEASE_S)
        assert second.recover() == 0
        assert second.claim_fit(LEASE_S) is None
        now += LEASE_S - 1
        assert first.record_step(fit.id, 1, 1, 2, [0.5], LEASE_S)
        now += 2
        assert second.expired_fits() == [] and second.recover() == 0
        now += LEASE_S
        assert second.recover() == 1
        claim = second.claim_fit(LEASE_S)
        assert claim and (claim.fit.id, claim.fit.fence) == (fit.id, 2)
        assert not first.record_step(fit.id, 1, 2, 2, [0.5], LEASE_S)
        assert first.finish_fit(fit.id, 1, TAIL) is None
        assert second.finish_fit(fit.id, 2, TAIL)


def test_clocks_that_differ_do_not_matter(
    fronts: tuple[SharedStore, SharedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fronts
    ahead = 3600.0
    submit(first)
    assert first.claim_fit(LEASE_S)
    real = time.time
    monkeypatch.setattr("engine.server.postgres_database.time.time", lambda: real() + ahead)
    assert second.recover() == 0 and second.expired_fits() == []
    key, _ = second.add_key("ann")
    monkeypatch.undo()
    assert abs(key.created_at - real()) < 5


def test_watchers_hear_of_every_server(fronts: tuple[SharedStore, SharedStore]) -> None:
    first, second = fronts
    told: tuple[list[str], list[str]] = ([], [])
    first.watch(told[0].append)
    second.watch(told[1].append)
    wait_until(lambda: _listeners(second) == 2)
    fit = submit(first)
    assert second.claim_fit(LEASE_S)
    second.record_step(fit.id, 1, 1, 1, [0.5], LEASE_S)
    wait_until(lambda: len(told[0]) == len(told[1]) == 3)
    second.finish_fit(fit.id, 1, TAIL)
    wait_until(lambda: len(told[0]) == len(told[1]) == 4)
    assert {*told[0], *told[1]} == {fit.id}
    assert [event.kind for event in first.events(fit.id)] == ["queued", "started", "succeeded"]


def test_what_was_missed_while_a_connection_was_lost_is_told(fronts: tuple[SharedStore, SharedStore]) -> None:
    first, second = fronts
    told: list[str] = []
    second.watch(told.append)
    wait_until(lambda: _listeners(first) == 1)
    fit = submit(first)
    wait_until(lambda: told == [fit.id])
    with first._postgres.connect() as connection:
        connection.execute(b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    first.cancel_fit("ann", fit.id)
    wait_until(lambda: told == [fit.id] * 2)


def test_what_was_missed_before_the_first_connection_is_told(
    fronts: tuple[SharedStore, SharedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fronts
    told: list[str] = []
    reached = threading.Event()

    def connect() -> None:
        monkeypatch.undo()
        reached.set()
        raise StoreError("away")

    monkeypatch.setattr(second._postgres, "connect", connect)
    second.watch(told.append)
    assert reached.wait(10)
    fit = submit(first)
    wait_until(lambda: told == [fit.id])


def _listeners(store: SharedStore) -> int:
    with store._database.reading() as connection:
        [found] = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").fetchone()
    return int(found)


def test_an_idempotency_key_makes_one_fit_on_all_servers(fronts: tuple[SharedStore, SharedStore]) -> None:
    for number in range(5):
        terms = {"idempotency_key": f"key {number}", "payload_digest": "same"}
        fits = at_once(*[partial(submit, store, **terms) for store in fronts * 3])
        assert len({fit.id for fit in fits}) == 1
    with pytest.raises(IdempotencyMismatch):
        submit(fronts[1], idempotency_key="key 0", payload_digest="other")


def test_quotas_hold_on_all_servers_together(fronts: tuple[SharedStore, SharedStore]) -> None:
    fits = at_once(*[partial(submit, store, max_active=3) for store in fronts * 4])
    assert sorted(type(fit).__name__ for fit in fits) == ["FitRow"] * 3 + ["QuotaReached"] * 5
    tails = at_once(*[partial(store.add_tail, "bob", "rex", TAIL, max_tails=3) for store in fronts * 4])
    assert sorted(type(tail).__name__ for tail in tails) == ["TailRow"] * 3 + ["TailsFull"] * 5
    assert len(fronts[0].tails("bob")) == 3


def test_no_server_removes_what_another_has_just_put(fronts: tuple[SharedStore, SharedStore]) -> None:
    """One picture comes and goes on both at once; whoever has a tail of it has it too."""

    def churn(store: SharedStore) -> None:
        for _ in range(25):
            image = store.put_image(b"rex")
            tail = store.add_tail("ann", "rex", TAIL, image=image)
            assert store.image(image) == b"rex"
            store.delete_tail("ann", tail.id)

    at_once(*[partial(churn, store) for store in fronts * 2])
    assert fronts[0].tails("ann") == []


def test_a_picture_goes_between_put_and_row_only_if_its_pin_is_over(shared_place: SharedPlace) -> None:
    now = 1000.0
    with (
        closing(shared_place.open(clock=lambda: now)) as first,
        closing(shared_place.open(clock=lambda: now)) as second,
    ):
        image = first.put_image(b"rex")
        now += 599
        second._pictures.tidy(set())
        assert shared_place.pictures() == {b"rex"}
        now += 2
        second._pictures.tidy(set())
        assert shared_place.pictures() == set()
        with pytest.raises(StoreError, match="is not stored; put it again"):
            first.submit_fit("ann", "rex", SETTINGS, image, max_active=1, max_queued=1)
    assert shared_place.pins() == 0


def test_readers_wait_for_no_writer_and_writers_not_for_ever(
    shared_place: SharedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.postgres_database._SET_UP", "SET lock_timeout = '200ms'")
    with closing(shared_place.open()) as store, closing(shared_place.open()) as hung:
        tail = store.add_tail("ann", "rex", TAIL)
        with hung._database.writing() as connection:
            connection.execute("UPDATE tails SET name = 'max'")
            assert store.tails("ann") == [tail]
            with pytest.raises(StoreError, match="lock timeout"):
                store.add_tail("ann", "rex", TAIL)
        assert store.add_tail("ann", "rex", TAIL)
        assert [row.name for row in store.tails("ann")] == ["rex", "max"]


def test_connections_are_few_and_shared(shared_place: SharedPlace) -> None:
    numbers = count()
    with closing(shared_place.open()) as store:

        def read() -> None:
            for _ in range(5):
                assert store.tails(f"owner {next(numbers)}") == []

        at_once(*[read] * 40)
        with psycopg.connect(shared_place.url) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hiper-serve'"
            ).fetchone()
        assert found and 0 < found[0] <= 16


def test_text_that_postgresql_cannot_keep_is_kept_as_far_as_it_can(fronts: tuple[SharedStore, SharedStore]) -> None:
    tail = fronts[0].add_tail("ann", "a\0b ⌘ '%?:x", TAIL)
    assert fronts[1].tails("ann")[0].name == "a\ufffdb ⌘ '%?:x"
    assert fronts[1].tail("ann", "tail_\0") is None
    assert fronts[1].tail("ann", tail.id)
