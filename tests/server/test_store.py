"""Oracle: hashes and files as Python's own library sees them, and plain SQL on the closed database."""

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TailError
from engine.server.folder_store import FolderStore
from engine.server.loss_curve import MAX_POINTS, extend
from engine.server.messages import FitSettings
from engine.server.records import FitRow
from engine.server.store import Store
from engine.server.store_errors import BytesFull, IdempotencyMismatch, QueueFull, QuotaReached, StoreError, TailsFull
from engine.tail_file import TailFile, serialize_tail_file, tail_digest
from engine.tail_info import TailInfo
from tests.server.shared import FolderPlace, Place

ROWS = np.arange(40, dtype=np.float32).reshape(5, 8)
INFO = TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dög", tail_strength=0.7)
TAIL = serialize_tail_file(TailFile(ROWS, ROWS, INFO))
SETTINGS = FitSettings(prompt="a dög", seed=2**64 - 1, learning_rate=0.005)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """A store of either kind."""
    store = place.open()
    yield store
    store.close()
    assert place.check() == []


def submit(store: Store, owner: str = "ann", picture: bytes = b"picture", key: str | None = None) -> FitRow:
    fit, _ = store.submit_fit(
        owner, "rex", SETTINGS, store.put_image(picture), idempotency_key=key, max_active=9, max_queued=9
    )
    return fit


def fitted(store: Store, owner: str = "ann", picture: bytes = b"picture", previews: tuple[bytes, ...] = ()) -> str:
    fit = submit(store, owner, picture)
    claim = store.claim_fit(30)
    assert claim and claim.fit.id == fit.id
    for step, preview in enumerate(previews):
        assert store.record_preview(fit.id, 1, step, preview)
    tail = store.finish_fit(fit.id, 1, TAIL)
    assert tail
    return tail.id


def test_a_key_is_found_by_its_token_and_kept_as_a_digest(place: Place, store: Store) -> None:
    key, token = store.add_key("ann", ("edit", "fit"), max_edits=3, edits_per_minute=5, max_fits=7)
    other, other_token = store.add_key("bob")
    assert store.find_key(token) == key
    assert store.find_key(other_token) == other
    assert (key.name, key.scopes, key.max_edits, key.edits_per_minute, key.max_fits) == (
        "ann",
        {"edit", "fit"},
        3,
        5,
        7,
    )
    assert store.keys() == [key, other]
    kept = place.keys()
    assert hashlib.sha256(token.encode()).hexdigest().encode() in kept
    assert token[-40:].encode() not in kept


def test_wrong_and_revoked_tokens_find_nothing(store: Store) -> None:
    key, token = store.add_key("ann")
    for wrong in (
        "",
        "hiper_",
        token[:-1],
        token + "x",
        token.upper(),
        token.removeprefix("hiper_"),
        "\ud800",
        "\0" * 99,
    ):
        assert store.find_key(wrong) is None
    assert store.revoke_key(key.id)
    assert not store.revoke_key(key.id)
    assert store.find_key(token) is None
    assert store.keys()[0].revoked_at is not None
    with pytest.raises(ValueError, match="scopes has root; use edit, fit, tails"):
        store.add_key("ann", ("root",))  # type: ignore[arg-type]


def test_a_rotated_key_is_the_same_with_another_token(store: Store) -> None:
    key, token = store.add_key("alice", max_edits=3)
    fresh = store.rotate_key(key.id)
    assert fresh and store.find_key(fresh) == key and store.find_key(token) is None
    store.revoke_key(key.id)
    assert store.rotate_key(key.id) is None and store.rotate_key("key_x") is None


def test_a_key_adopts_all_that_another_owner_has(place: Place, store: Store) -> None:
    old, new = (store.add_key(name)[0].id for name in ("old", "new"))
    tail, brought = fitted(store, old, b"first"), store.add_tail(old, "max", TAIL)
    fit, mine = submit(store, old, b"second", key="a"), submit(store, new, b"third", key="a")
    assert store.adopt(old, "key_x") is None and store.adopt("nobody", new) == (0, 0)
    assert store.adopt(old, new) == (2, 2)
    assert store.fits(old) == store.tails(old) == []
    assert {row.id for row in store.tails(new)} == {tail, brought.id}
    assert {row.id for row in store.fits(new)} >= {fit.id, mine.id}
    assert submit(store, new, b"third", key="a").id == mine.id
    assert store.claim_fit(30) and store.finish_fit(fit.id, 1, TAIL)
    with store._database.reading() as connection:
        assert old not in {owner for [owner] in connection.execute("SELECT owner FROM turns")}


def test_a_tail_is_kept_as_it_came(store: Store) -> None:
    row = store.add_tail("ann", "rex", TAIL)
    assert store.tail("ann", row.id) == row
    assert store.tail_data("ann", row.id) == TAIL
    assert row.digest == tail_digest(ROWS)
    assert (row.model_id, row.model_digest, row.source_prompt, row.tail_strength) == ("toy", "0" * 64, "a dög", 0.7)
    assert (row.size_bytes, row.image, row.fit_id) == (len(TAIL), None, None)
    with pytest.raises(TailError, match="not a tail file"):
        store.add_tail("ann", "rex", TAIL[:-1])
    assert store.rename_tail("ann", row.id, "max") == replace(row, name="max")


def test_strangers_tails_and_fits_do_not_exist(store: Store) -> None:
    image = store.put_image(b"picture")
    tail = store.add_tail("ann", "rex", TAIL, image=image)
    fit = submit(store, "ann")
    assert (
        store.tail("bob", tail.id) is store.tail_data("bob", tail.id) is store.rename_tail("bob", tail.id, "x") is None
    )
    assert store.tail_of_image("bob", image, "0" * 64) is store.tail_of_image("ann", image, "1" * 64) is None
    assert store.tail_of_image("ann", image, "0" * 64) == tail
    assert not store.delete_tail("bob", tail.id)
    assert store.fit("bob", fit.id) is store.cancel_fit("bob", fit.id) is None
    assert store.tails("bob") == store.fits("bob") == []
    assert not store.delete_fit("bob", fit.id)
    assert store.claim_fit(1)
    store.record_preview(fit.id, 1, 50, b"preview")
    assert store.preview("bob", fit.id, 50) is None
    assert store.preview("ann", fit.id, 50) == b"preview"
    assert store.preview("ann", fit.id, 10**30) is None
    assert store.previews(fit.id) == [50]


def test_lists_are_newest_first_in_pages(store: Store) -> None:
    tails = [store.add_tail("ann", str(index), TAIL) for index in range(5)][::-1]
    store.add_tail("bob", "bob's", TAIL)
    assert store.tails("ann") == tails
    assert store.tails("ann", limit=2) == tails[:2]
    assert store.tails("ann", limit=2, after=tails[1].id) == tails[2:4]
    assert store.tails("ann", after=tails[4].id) == store.tails("ann", after="tail_unknown") == []
    fits = [submit(store) for _ in range(3)][::-1]
    assert store.fits("ann", limit=2, after=fits[0].id) == fits[1:]


def test_pictures_are_named_by_their_content(place: Place, store: Store) -> None:
    sha256 = store.put_image(b"picture")
    assert sha256 == hashlib.sha256(b"picture").hexdigest() == store.put_image(b"picture")
    assert store.image(sha256) == b"picture"
    assert place.pictures() == {b"picture"}
    for name in ("0" * 64, "../hiper.db", ""):
        with pytest.raises(StoreError):
            store.image(name)


def test_a_tail_takes_its_fit_and_their_pictures_along(place: Place, store: Store) -> None:
    tail = fitted(store, picture=b"rex", previews=(b"rough", b"fine"))
    fit_id = store.fits("ann")[0].id
    assert place.pictures() == {b"rex", b"rough", b"fine"}
    assert store.delete_tail("ann", tail)
    assert not store.delete_tail("ann", tail)
    assert place.pictures() == set()
    assert store.fit("ann", fit_id) is store.tail("ann", tail) is None
    assert store.events(fit_id) == store.previews(fit_id) == []


def test_a_picture_stays_while_anything_refers_to_it(place: Place, store: Store) -> None:
    first, second = fitted(store, "ann", b"rex"), fitted(store, "bob", b"rex", previews=(b"rough",))
    third = store.add_tail("eve", "rex", TAIL, image=store.put_image(b"rough"))
    store.delete_tail("ann", first)
    assert place.pictures() == {b"rex", b"rough"}
    store.delete_tail("bob", second)
    assert place.pictures() == {b"rough"}
    store.delete_tail("eve", third.id)
    assert place.pictures() == set()


def test_a_picture_stays_for_whoever_has_just_put_it(place: Place, store: Store) -> None:
    tail = fitted(store, "ann", b"rex")
    put = store.put_image(b"rex")
    store.delete_tail("ann", tail)
    fit, _ = store.submit_fit("bob", "rex", SETTINGS, put, max_active=1, max_queued=1)
    assert store.image(fit.image) == b"rex"
    store.cancel_fit("bob", fit.id)
    assert store.delete_fit("bob", fit.id)
    assert place.pictures() == set()


def test_a_refused_fit_leaves_no_picture(place: Place, store: Store) -> None:
    submit(store, picture=b"rex")
    with pytest.raises(QuotaReached):
        store.submit_fit("ann", "max", SETTINGS, store.put_image(b"max"), max_active=1, max_queued=9)
    assert place.pictures() == {b"rex"}


def test_a_picture_that_was_never_used_goes_after_a_while(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.blobs._PIN_S", -1.0)
    monkeypatch.setattr("engine.server.shared_pictures.PIN_S", -1.0)
    store.put_image(b"max")
    monkeypatch.undo()
    submit(store, picture=b"rex")
    assert place.pictures() == {b"rex"}


def test_a_fit_needs_its_picture(store: Store) -> None:
    with pytest.raises(StoreError, match="is not stored; put it again"):
        store.submit_fit("ann", "rex", SETTINGS, "0" * 64, max_active=1, max_queued=1)
    assert store.fits("ann") == []


def test_orphans_and_unfinished_files_go_at_the_next_start(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    tail = fitted(store, picture=b"rex")
    store.put_image(b"orphan")
    (tmp_path / "images" / ".0123.tmp").write_bytes(b"unfinished")
    store.close()
    store = FolderStore(tmp_path)
    assert FolderPlace(tmp_path).pictures() == {b"rex"}
    assert store.tail_data("ann", tail) == TAIL
    store.close()


def test_pictures_without_a_database_are_not_taken_for_orphans(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    fitted(store, picture=b"rex")
    store.close()
    os.remove(tmp_path / "hiper.db")
    with pytest.raises(StoreError, match=r"has pictures but no data about them; restore hiper.db"):
        FolderStore(tmp_path)
    assert (tmp_path / "images" / f"{hashlib.sha256(b'rex').hexdigest()}.png").exists()


def test_a_folder_has_one_server_and_managers_beside_it(tmp_path: Path) -> None:
    first = FolderStore(tmp_path)
    with pytest.raises(StoreError, match="in use by another hiper-serve"):
        FolderStore(tmp_path)
    beside = FolderStore(tmp_path, alone=False)
    key, token = beside.add_key("ann")
    beside.close()
    assert first.find_key(token) == key
    first.close()
    FolderStore(tmp_path).close()
    with pytest.raises(StoreError, match="closed"):
        first.keys()
    with pytest.raises(StoreError, match="closed"):
        first.add_key("late")


def test_only_the_owner_of_the_folder_can_read_it(tmp_path: Path) -> None:
    FolderStore(tmp_path / "deep" / "data").close()
    assert (tmp_path / "deep" / "data").stat().st_mode & 0o777 == 0o700


def test_a_preview_of_another_attempt_replaces_the_first(place: Place, store: Store) -> None:
    fit = submit(store, picture=b"rex")
    store.claim_fit(30)
    for preview in (b"rough", b"rough", b"smooth"):
        assert store.record_preview(fit.id, 1, 50, preview)
        assert store.preview("ann", fit.id, 50) == preview
    assert place.pictures() == {b"rex", b"smooth"}


def test_the_same_idempotency_key_is_the_same_fit(store: Store) -> None:
    def submit_as(owner: str, digest: str) -> tuple[FitRow, bool]:
        image = store.put_image(b"picture")
        return store.submit_fit(
            owner, "rex", SETTINGS, image, idempotency_key="k", payload_digest=digest, max_active=1, max_queued=2
        )

    first, created = submit_as("ann", "1")
    assert created
    assert submit_as("ann", "1") == (first, False)
    with pytest.raises(IdempotencyMismatch, match="used with another request; use a new one"):
        submit_as("ann", "2")
    other, created = submit_as("bob", "2")
    assert created and other.id != first.id


def test_quotas_count_what_is_queued_or_running(store: Store) -> None:
    def submit_as(owner: str) -> FitRow:
        return store.submit_fit(owner, "x", SETTINGS, store.put_image(b"p"), max_active=2, max_queued=3)[0]

    first, _ = submit_as("ann"), submit_as("ann")
    with pytest.raises(QuotaReached, match="2 fits are queued or running"):
        submit_as("ann")
    submit_as("bob")
    with pytest.raises(QueueFull, match="3 fits are waiting"):
        submit_as("bob")
    assert store.claim_fit(1)
    with pytest.raises(QuotaReached):
        submit_as("ann")
    store.cancel_fit("ann", first.id)
    store.requeue_fit(first.id, 1, counts=False)
    submit_as("ann")


def test_an_owner_keeps_so_many_tails(place: Place, store: Store) -> None:
    def submit_as(owner: str) -> FitRow:
        image = store.put_image(b"p")
        return store.submit_fit(owner, "x", SETTINGS, image, max_active=9, max_queued=9, max_tails=2)[0]

    fit, brought = submit_as("ann"), store.add_tail("ann", "rex", TAIL, max_tails=2)
    assert store.claim_fit(30) and store.finish_fit(fit.id, 1, TAIL)
    with pytest.raises(TailsFull, match="2 tails and fits are kept, which is all that is permitted; delete some"):
        store.add_tail("ann", "max", TAIL, image=store.put_image(b"max"), max_tails=2)
    with pytest.raises(TailsFull):
        submit_as("ann")
    assert place.pictures() == {b"p"}
    assert submit_as("bob")
    assert store.delete_tail("ann", brought.id)
    store.cancel_fit("ann", submit_as("ann").id)
    with pytest.raises(TailsFull):
        submit_as("ann")


def test_an_owner_keeps_so_many_bytes(place: Place, store: Store) -> None:
    def submit_as(owner: str, most: int) -> FitRow:
        picture, room = b"a picture", {"max_active": 9, "max_queued": 9, "max_bytes": most}
        if store.expect_fit(owner, **room) is None:
            room["picture_bytes"] = len(picture)
        return store.submit_fit(owner, "x", SETTINGS, store.put_image(picture), **room)[0]

    fit = submit_as("ann", 9)
    store.cancel_fit("ann", fit.id)
    for most in (9, 17):
        with pytest.raises(BytesFull, match=f"pictures have {most} bytes at most, and have them already; delete some"):
            submit_as("ann", most)
    assert submit_as("bob", 9) and submit_as("ann", 18)
    claim = store.claim_fit(30)
    assert claim and store.record_preview(claim.fit.id, 1, 1, b"preview") and store.finish_fit(claim.fit.id, 1, TAIL)
    kept = 9 + len(b"preview") + len(TAIL)
    with pytest.raises(BytesFull):
        store.add_tail(claim.fit.owner, "max", TAIL, max_bytes=kept + len(TAIL) - 1)
    store.add_tail(claim.fit.owner, "max", TAIL, max_bytes=kept + len(TAIL) + 9)
    assert store.delete_fit("ann", fit.id)
    assert place.pictures() == {b"a picture", b"preview"}


def test_a_fit_tells_its_story(store: Store) -> None:
    told: list[str] = []
    store.watch(told.append)
    store.watch(lambda _: 1 / 0)
    fit = submit(store)
    store.claim_fit(30)
    store.record_step(fit.id, 1, 2, 4, [0.5, 0.25], 30)
    store.record_checkpoint(fit.id, 1, 2, b"snapshot")
    store.record_step(fit.id, 1, 3, 4, [float("nan")], 30)
    assert [event.kind for event in store.events(fit.id)] == ["queued", "started", "progress", "checkpoint", "progress"]
    assert store.events(fit.id, 2)[0].data == {"step": 2, "steps": 4, "loss": 0.25, "losses": [0.5, 0.25]}
    assert store.pace(fit.id) == [event for event in store.events(fit.id) if event.kind == "progress"]
    store.requeue_fit(fit.id, 1, counts=True)
    claim = store.claim_fit(30)
    assert store.pace(fit.id) == []
    assert claim and claim.checkpoint == b"snapshot" and (claim.fit.step, claim.fit.attempt) == (2, 2)
    tail = store.finish_fit(fit.id, 2, TAIL)
    assert tail and tail.image == fit.image and tail.name == "rex"
    events = store.events(fit.id, 5)
    assert [(event.seq, event.kind) for event in events] == [(6, "queued"), (7, "resumed"), (8, "succeeded")]
    assert (events[0].data, events[2].data) == ({"reason": "lost", "step": 2}, {"tail": tail.id})
    assert store.events(fit.id, 10**30) == []
    assert told == [fit.id] * 8
    with store._database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0] == 0
    row = store.fit("ann", fit.id)
    assert row and row.tail_id == tail.id and row.losses == ((1, 0.5), (2, 0.25)) and row.settings == SETTINGS


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_whoever_has_seen_the_last_progress_is_told_of_the_end(store: Store, end: str) -> None:
    fit = submit(store)
    store.claim_fit(30)
    store.record_step(fit.id, 1, 4, 4, [0.5], 30)
    seen = store.events(fit.id)[-1]
    assert seen.kind == "progress"
    if end == "finish":
        store.finish_fit(fit.id, 1, TAIL)
    elif end == "fail":
        store.fail_fit(fit.id, 1, {"code": "diverged", "message": "no"})
    else:
        store.cancel_fit("ann", fit.id)
        store.requeue_fit(fit.id, 1, counts=False)
    [last] = store.events(fit.id, seen.seq)
    assert last.kind in ("succeeded", "failed", "cancelled")


def test_threads_share_a_store(store: Store) -> None:
    def work() -> None:
        for _ in range(10):
            row = store.add_tail("ann", "rex", TAIL)
            assert store.tail("ann", row.id) == row
            store.put_image(b"the same")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tails("ann", limit=1000)) == 80


def test_check_names_the_damage(tmp_path: Path) -> None:
    assert "no data folder" in FolderStore.check(tmp_path)[0]
    store = FolderStore(tmp_path)
    fitted(store, picture=b"rex", previews=(b"rough",))
    submit(store)
    store.close()
    [rex, rough] = [tmp_path / "images" / f"{hashlib.sha256(data).hexdigest()}.png" for data in (b"rex", b"rough")]
    rex.write_bytes(b"max")
    rough.unlink()
    with sqlite3.connect(tmp_path / "hiper.db") as connection:
        connection.execute("UPDATE tails SET data = ?", (TAIL[:-1],))
        connection.execute("UPDATE fits SET losses = 'x' WHERE state = 'queued'")
        connection.execute("UPDATE fits SET state = 'cancelled' WHERE state = 'succeeded'")
    connection.close()
    problems = "\n".join(FolderStore.check(tmp_path))
    assert f"picture {rex.stem} is damaged" in problems
    assert f"picture {rough.stem} is missing" in problems
    assert "is not a tail file" in problems
    assert "is damaged: Expecting value" in problems
    assert "is cancelled but its tail is tail_" in problems
    (tmp_path / "hiper.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    assert FolderStore.check(tmp_path) != []
    with pytest.raises(StoreError, match="run hiper-serve check"):
        FolderStore(tmp_path)


@given(st.integers(1, 3000), st.lists(st.integers(1, 400), max_size=12), st.data())
def test_a_loss_curve_is_an_even_part_of_the_losses(steps: int, chunks: list[int], data: st.DataObject) -> None:
    """Whatever was reported, in whatever chunks, and however often the fit went back to a checkpoint."""
    curve: list[tuple[int, float]] = []
    losses: dict[int, float] = {}
    step = 0
    for index, chunk in enumerate(chunks):
        step = data.draw(st.integers(0, step))
        news = [index + number / 1000 for number in range(min(chunk, steps - step))]
        losses = {at: loss for at, loss in losses.items() if at <= step} | dict(enumerate(news, step + 1))
        step += len(news)
        curve = extend(curve, step, steps, news)
    assert len(curve) <= MAX_POINTS
    stride = -(-steps // MAX_POINTS)
    assert curve == [(at, losses[at]) for at in range(stride, step + 1, stride)]
