"""Oracle: what was acknowledged before something was killed; and that no secret is ever told."""

import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.server import postgres_schema, schema
from engine.server.shared_store import SharedStore
from engine.server.store_errors import StoreError
from tests.server.conftest import wait_until
from tests.server.shared import PASSWORD, S3, Postgres, SharedPlace, new_shared_place
from tests.server.test_store import SETTINGS, TAIL

ROOT = Path(__file__).parents[2]

# Works through fits as a server does, and says what it was told is done.
WORK = """
import os, sys
from pathlib import Path
from engine.server.messages import FitSettings
from engine.server.open_store import open_store
from engine.server.settings import load_settings

store, tail = open_store(load_settings(data_dir=Path(sys.argv[1]))), Path(sys.argv[2]).read_bytes()
print("open", flush=True)
while True:
    image = store.put_image(os.urandom(2_000))
    fit, _ = store.submit_fit("ann", "rex", FitSettings(prompt="a dog"), image, max_active=10**6, max_queued=10**6)
    print("submitted", fit.id, flush=True)
    claim = store.claim_fit(30)
    assert store.record_checkpoint(claim.fit.id, claim.fit.fence, 1, b"snapshot")
    assert store.record_preview(claim.fit.id, claim.fit.fence, 1, os.urandom(1_000))
    store.finish_fit(claim.fit.id, claim.fit.fence, tail)
    print("succeeded", claim.fit.id, flush=True)
"""


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that may be killed."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def own_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An object store that may be killed."""
    server = S3()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.kill()


def test_servers_that_are_killed_lose_nothing_acknowledged(shared_place: SharedPlace, tmp_path: Path) -> None:
    tail = tmp_path / "tail"
    tail.write_bytes(TAIL)
    urls = {"HIPER_STORE_URL": shared_place.url, "HIPER_IMAGES_URL": shared_place.images_url}
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, tmp_path / "data", tail],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | urls,
        )
        for _ in range(2)
    ]
    said: list[list[str]] = []
    for server in servers:
        assert server.stdout and server.stdout.readline() == "open\n"
    for server in servers:
        time.sleep(random.Random(0).uniform(0.2, 0.5))
        server.kill()
    for server in servers:
        with server:
            assert server.stdout
            said += [line.split() for line in server.stdout if line.endswith("\n")]
    assert shared_place.check() == []
    with closing(shared_place.open(clock=lambda: time.time() + 3600)) as store:
        fits = {fit.id: fit for fit in store.fits("ann", limit=10**6)}
        assert {id for _, id in said} <= set(fits)
        assert {id for word, id in said if word == "succeeded"} <= {
            id for id, fit in fits.items() if fit.state == "succeeded"
        }
        assert len(fits) <= sum(word == "submitted" for word, _ in said) + len(servers)
        assert len(said) > 4
        store.recover()
        while claim := store.claim_fit(30):
            assert store.finish_fit(claim.fit.id, claim.fit.fence, TAIL)
        for fit in store.fits("ann", limit=10**6):
            assert fit.state == "succeeded" and store.delete_fit("ann", fit.id)
    assert shared_place.pictures() == set()


def test_postgresql_killed_and_back(own_postgres: Postgres, s3: S3) -> None:
    place = new_shared_place(own_postgres, s3)
    told: list[str] = []
    with closing(place.open()) as store, closing(place.open()) as other:
        store.watch(told.append)
        kept = store.add_tail("ann", "rex", TAIL, image=store.put_image(b"rex"))
        fit, _ = store.submit_fit("ann", "max", SETTINGS, store.put_image(b"max"), max_active=1, max_queued=1)
        with pytest.raises(StoreError, match="cannot be used"), store._database.writing() as connection:
            connection.execute("UPDATE tails SET name = 'half written'")
            own_postgres.kill()
            store_gone(other)
        begun = time.monotonic()
        store_gone(store)
        assert time.monotonic() - begun < 10
        own_postgres.start()
        assert store.tails("ann") == other.tails("ann") == [kept]
        assert store.image(kept.image or "") == b"rex"
        seen = len(told)
        assert other.cancel_fit("ann", fit.id)
        wait_until(lambda: len(told) > seen)
        assert store.delete_tail("ann", kept.id)
    assert place.check() == []


def store_gone(store: SharedStore) -> None:
    for call in (lambda: store.tails("ann"), lambda: store.add_tail("ann", "x", TAIL), lambda: store.put_image(b"y")):
        with pytest.raises(StoreError, match=r"PostgreSQL at .* cannot be used"):
            call()


def test_the_object_store_away_and_back(
    postgres: Postgres, own_s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.server.shared_pictures.RETRY_S", 0.0)
    place = new_shared_place(postgres, own_s3)
    with closing(place.open()) as store:
        tail = store.add_tail("ann", "rex", TAIL, image=store.put_image(b"rex"))
        own_s3.kill()
        for call in (lambda: store.put_image(b"max"), lambda: store.image(tail.image or "")):
            with pytest.raises(StoreError, match=r"the object store of images_url .* cannot be used"):
                call()
        assert store.tails("ann") == [tail] and store.fits("ann") == []
        with pytest.raises(StoreError, match="Generic"):
            place.check()
        assert store.delete_tail("ann", tail.id)
        assert store.tails("ann") == []
        assert "removed later" in caplog.text
        assert place.pins() == 2
        own_s3.start()
        monkeypatch.setattr("engine.server.shared_pictures.PIN_S", -1.0)
        store.put_image(b"max")
        store.add_tail("ann", "rex", TAIL, image=store.put_image(b"rex"))
        with closing(place.open(clock=lambda: time.time() + 3600)):
            assert place.pictures() == {b"rex"} and place.pins() == 0


SECRETIVE = {
    "no address": f"postgresql://postgres:{PASSWORD}@host:port:5432/x",
    "no parameter": f"host=localhost password={PASSWORD} colour=red",
    "nobody there": f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/x",
    "no name": f"postgresql://postgres:{PASSWORD}@nowhere.invalid/x",
}


@pytest.mark.parametrize("url", SECRETIVE.values(), ids=SECRETIVE)
def test_no_password_is_told(url: str, s3: S3) -> None:
    with pytest.raises(StoreError) as caught:
        SharedStore(url, "s3://pictures/x")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    assert "store_url" in str(caught.value)


@pytest.mark.parametrize("url", ["", "pictures", "file:///tmp/x", "memory://", f"https://me:{PASSWORD}@host/x"])
def test_pictures_go_to_object_stores_only(url: str, postgres: Postgres) -> None:
    with pytest.raises(StoreError, match="images_url is no address of an object store; write s3://") as caught:
        SharedStore(postgres.new_schema(), url)
    assert PASSWORD not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told(postgres: Postgres, s3: S3) -> None:
    refused = pytest.raises(StoreError, match="the object store of images_url")
    with closing(SharedStore(postgres.new_schema(), "s3://missing/x")) as store, refused:
        store.put_image(b"rex")


def test_tables_of_a_newer_version_are_left_alone(shared_place: SharedPlace) -> None:
    with closing(shared_place.open()) as store:
        tail = store.add_tail("ann", "rex", TAIL)
        stars = ("ALTER TABLE tails ADD COLUMN stars INTEGER NOT NULL DEFAULT 3",)
        with pytest.raises(StoreError, match="cannot be used"):
            postgres_schema.migrate(store._postgres, (*schema.MIGRATIONS, (*stars, "DROP TABLE stars")))
        assert store.tails("ann") == [tail]
        postgres_schema.migrate(store._postgres, (*schema.MIGRATIONS, stars))
    with pytest.raises(StoreError, match=f"at most {len(schema.MIGRATIONS)} is known here"):
        shared_place.open()
