"""Oracle: what a process had acknowledged before it was killed, or before its disk was full."""

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.server import schema
from engine.server.folder_store import FolderStore
from engine.server.messages import FitSettings
from engine.server.store_errors import DiskFull, StoreError
from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo

ROOT = Path(__file__).parents[2]
ROWS = np.ones((5, 768), np.float32)
TAIL = serialize_tail_file(TailFile(ROWS, ROWS, TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog")))
SETTINGS = FitSettings(prompt="a dog")

# Works through fits as a server does, and says what it was told is done.
WORK = """
import sys, os
from pathlib import Path
from engine.server.messages import FitSettings
from engine.server.folder_store import FolderStore

folder, tail = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
store = FolderStore(folder)
store.recover()
print("open", flush=True)
while True:
    image = store.put_image(os.urandom(20_000))
    fit, _ = store.submit_fit("ann", "rex", FitSettings(prompt="a dog"), image, max_active=10**6, max_queued=10**6)
    print("submitted", fit.id, flush=True)
    claim = store.claim_fit(30)
    id, fence = claim.fit.id, claim.fit.fence
    for step in (1, 2):
        assert store.record_step(id, fence, step, 2, [0.5], 30)
        assert store.record_checkpoint(id, fence, step, os.urandom(46_000))
        assert store.record_preview(id, fence, step, os.urandom(10_000))
    store.finish_fit(id, fence, tail)
    print("succeeded", id, flush=True)
"""


def work_until_killed(folder: Path, tail: Path, seconds: float) -> list[list[str]]:
    """What the process said before it was killed in the middle of something."""
    argv = [sys.executable, "-c", WORK, str(folder), str(tail)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout and process.stdout.readline() == "open\n"
        time.sleep(seconds)
        process.kill()
        return [line.split() for line in process.stdout if line.endswith("\n")]


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    folder, tail = tmp_path / "data", tmp_path / "tail"
    tail.write_bytes(TAIL)
    submitted: set[str] = set()
    succeeded: set[str] = set()
    for seed in range(8):
        for word, fit_id in work_until_killed(folder, tail, random.Random(seed).uniform(0, 0.3)):
            {"submitted": submitted, "succeeded": succeeded}[word].add(fit_id)
        assert FolderStore.check(folder) == []
    store = FolderStore(folder)
    store.recover()
    fits = {fit.id: fit for fit in store.fits("ann", limit=10**6)}
    assert submitted <= set(fits)
    assert succeeded <= {fit.id for fit in fits.values() if fit.state == "succeeded"}
    assert len(fits) <= len(submitted) + 8  # one may be on disk whose word was cut off
    assert len(store.tails("ann", limit=10**6)) == sum(fit.state == "succeeded" for fit in fits.values())
    while claim := store.claim_fit(30):
        assert (claim.checkpoint is not None) == (claim.fit.step > 0)
        assert store.finish_fit(claim.fit.id, claim.fit.fence, TAIL)
    assert {fit.state for fit in store.fits("ann", limit=10**6)} == {"succeeded"}
    store.close()
    assert FolderStore.check(folder) == []


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1)):
        assert store._database.writer.execute(f"PRAGMA {name}").fetchone()[0] == value
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


def use(store: FolderStore) -> None:
    image = store.put_image(random.randbytes(30_000))
    store.submit_fit("ann", "rex", SETTINGS, image, max_active=10**6, max_queued=10**6)
    claim = store.claim_fit(30)
    assert claim
    store.record_checkpoint(claim.fit.id, claim.fit.fence, 1, random.randbytes(46_000))
    store.finish_fit(claim.fit.id, claim.fit.fence, TAIL)


def test_a_full_disk_loses_nothing_and_can_be_read(small_disk: Path) -> None:
    folder, ballast = small_disk / "data", small_disk / "ballast"
    store = FolderStore(folder)
    tail = store.add_tail("ann", "first", TAIL)
    for free in (
        0,
        1,
        2,
        5,
        9,
        14,
        20,
        30,
    ):  # so many pages are left, for the disk to be full at another moment each time
        fill(ballast)
        with open(ballast, "r+b") as file:
            file.truncate(ballast.stat().st_size - 4096 * free)
        with pytest.raises(DiskFull, match="is full; delete something there"):
            while True:
                use(store)
        assert store.tail_data("ann", tail.id) == TAIL
        assert FolderStore.check(folder) == []
        assert not list((folder / "images").glob(".*"))
        before = {fit.id for fit in store.fits("ann", limit=10**6)}
        ballast.unlink()
        use(store)
        assert before < {fit.id for fit in store.fits("ann", limit=10**6)}
    fill(ballast)
    store.close()
    ballast.unlink()
    store = FolderStore(folder)
    assert store.tail_data("ann", tail.id) == TAIL
    use(store)
    store.close()
    assert FolderStore.check(folder) == []


def test_a_backup_made_while_others_write_is_a_data_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    done = threading.Event()
    kept = [store.add_tail("ann", "kept", TAIL, image=store.put_image(b"kept")).id]

    def churn() -> None:
        number = 0
        while not done.is_set():
            number += 1
            tail = store.add_tail("bob", "gone", TAIL, image=store.put_image(b"gone %d" % number))
            kept.append(store.add_tail("ann", "kept", TAIL, image=store.put_image(b"kept %d" % number)).id)
            store.delete_tail("bob", tail.id)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(4):
            before = set(kept)
            store.backup(tmp_path / f"backup {number}")
            restored = FolderStore(tmp_path / f"backup {number}")
            tails = restored.tails("ann", limit=10**6)
            assert before <= {tail.id for tail in tails} <= set(kept) | {tails[0].id}
            assert all(tail.image and restored.image(tail.image).startswith(b"kept") for tail in tails)
            restored.close()
            assert FolderStore.check(tmp_path / f"backup {number}") == []
    finally:
        done.set()
        thread.join()
    with pytest.raises(StoreError, match="exists; name a new folder"):
        store.backup(tmp_path / "backup 0")
    with pytest.raises(StoreError):
        store.backup(tmp_path / "data" / "hiper.db" / "impossible")
    store.close()
    assert not list(tmp_path.glob(".*"))


def test_a_backup_is_for_its_owners_eyes(tmp_path: Path) -> None:
    with closing(FolderStore(tmp_path / "data")) as store:
        store.backup(tmp_path / "new" / "backup")
    assert (tmp_path / "new" / "backup").stat().st_mode & 0o777 == 0o700


def test_a_backup_does_not_pretend_to_be_whole(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    tail = store.add_tail("ann", "rex", TAIL, image=store.put_image(b"picture"))
    assert tail.image
    (tmp_path / "data" / "images" / f"{tail.image}.png").unlink()
    with pytest.raises(StoreError, match="missing; run hiper-serve check"):
        store.backup(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    store.close()


STARS: schema.Migration = ("ALTER TABLE tails ADD COLUMN stars INTEGER NOT NULL DEFAULT 3",)


def migrate(folder: Path, *migrations: schema.Migration) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "hiper.db", isolation_level=None)
    schema.migrate(connection, folder / "backups", (*schema.MIGRATIONS, *migrations))
    return connection


def test_an_older_database_is_copied_and_brought_up(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    tail = store.add_tail("ann", "rex", TAIL)
    store.close()
    connection = migrate(tmp_path, STARS)
    assert connection.execute("SELECT id, stars FROM tails").fetchall() == [(tail.id, 3)]
    assert schema.version(connection) == len(schema.MIGRATIONS) + 1
    connection.close()
    [copy] = (tmp_path / "backups").iterdir()
    old = sqlite3.connect(copy)
    assert schema.version(old) == len(schema.MIGRATIONS)
    assert old.execute("SELECT id, data FROM tails").fetchall() == [(tail.id, TAIL)]
    old.close()
    with pytest.raises(StoreError, match=rf"at most {len(schema.MIGRATIONS)} is known here; install a newer"):
        FolderStore(tmp_path)
    wrong = f"the data is of version {len(schema.MIGRATIONS) + 1} instead of {len(schema.MIGRATIONS)}"
    assert FolderStore.check(tmp_path) == [wrong]
    copy.replace(tmp_path / "hiper.db")
    store = FolderStore(tmp_path)
    assert store.tails("ann") == [tail]
    store.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    tail = store.add_tail("ann", "rex", TAIL)
    store.close()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        migrate(tmp_path, (*STARS, "DROP TABLE stars"))
    assert FolderStore.check(tmp_path) == []
    store = FolderStore(tmp_path)
    assert store.tails("ann") == [tail]
    store.close()


def test_the_newest_database_is_not_copied(tmp_path: Path) -> None:
    for _ in range(2):
        FolderStore(tmp_path).close()
    assert not (tmp_path / "backups").exists()


def test_the_first_version_is_brought_up_with_its_fits(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "hiper.db", isolation_level=None)
    schema.migrate(connection, tmp_path / "backups", schema.MIGRATIONS[:1])
    connection.execute(
        "INSERT INTO fits (id, owner, name, settings, image, created_at) VALUES ('fit_a', 'ann', 'rex', ?, ?, 1)",
        ('{"prompt": "a dog"}', "0" * 64),
    )
    connection.close()
    with closing(FolderStore(tmp_path)) as store:
        assert [fit.id for fit in store.fits("ann")] == ["fit_a"]
        assert store.expect_fit("ann", max_active=9, max_queued=9, max_bytes=1) is None
