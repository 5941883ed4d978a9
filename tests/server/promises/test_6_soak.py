"""Promise 6: nothing leaks and nothing gets stuck under a mixed load. Oracle: the system's own counts."""

from engine.server.folder_store import FolderStore
from hiper.tail import serialize
from tests.server.conftest import wait_until
from tests.server.promises.client import CLIENT
from tests.server.promises.conftest import MINUTES, WholeFit
from tests.server.promises.deployment import Deployment
from tests.server.promises.edits import status
from tests.server.promises.fits import pages
from tests.server.promises.load import Load
from tests.server.promises.resources import PARTS, Sample, Watch, growth_mib_per_minute

SECONDS = 60 * MINUTES if MINUTES else 3.0
# Long enough for as many finished requests as the server remembers, and for memory to be as scattered as it gets.
WARM_UP_S = min(180.0, SECONDS / 2)
# Each growth of an hour's load would be found in ten minutes; in a few seconds only a wild one.
MAX_GROWTH_MIB_PER_MINUTE = 1.0 if MINUTES >= 5 else 120.0
# Threads that come and go take a connection to the database along, or the pipe of a new decoder.
MAX_MORE_FILES = 12


def test_a_mixed_load_leaves_nothing_behind(deployment: Deployment, whole_fit: WholeFit) -> None:
    load = Load(deployment, serialize(whole_fit(0)))
    tails, fits = len(pages(deployment, "/v1/tails")), len(pages(deployment, "/v1/fits"))
    load.run(WARM_UP_S, seed=0)
    before = idle(deployment)
    watch = Watch(deployment)
    load.run(SECONDS, seed=1)
    watch.close()
    report(load, watch)
    assert load.mistakes == []
    after = idle(deployment)
    assert deployment.readiness() == 200
    assert {status(deployment.url, id) for id in load.requests} <= {"succeeded", "failed", "cancelled", None}
    assert (len(pages(deployment, "/v1/tails")), len(pages(deployment, "/v1/fits"))) == (tails, fits)
    assert deployment.strays() == []
    for part in PARTS:
        samples = watch.samples[part]
        if part != "decoder":  # it is replaced after some pictures
            assert len({sample.pid for sample in samples}) == 1, f"the {part} did not live through it"
            assert growth_mib_per_minute(samples) < MAX_GROWTH_MIB_PER_MINUTE, part
        assert after[part].files <= before[part].files + MAX_MORE_FILES, part
        assert after[part].threads <= before[part].threads + MAX_MORE_FILES, part
    assert FolderStore.check(deployment.data_dir) == []


def idle(deployment: Deployment) -> dict[str, Sample]:
    """The processes when nothing is under way."""
    wait_until(lambda: all(fit["status"] not in ("queued", "running") for fit in pages(deployment, "/v1/fits")))
    CLIENT.get(f"{deployment.url}/livez", timeout=60)
    watch = Watch(deployment)
    wait_until(lambda: all(watch.samples[part] for part in PARTS))
    watch.close()
    return {part: watch.samples[part][-1] for part in PARTS}


def report(load: Load, watch: Watch) -> None:
    print(dict(load.counts), f"{len(load.mistakes)} mistakes")
    for part, samples in watch.samples.items():
        if len(samples) > 8:
            first, last, growth = samples[0], samples[-1], growth_mib_per_minute(samples)
            print(
                f"{part}: {first.memory_mib:.1f} MiB to {last.memory_mib:.1f}, most "
                f"{max(sample.memory_mib for sample in samples):.1f}, {growth:+.2f} a minute; "
                f"{first.files} to {last.files} files, {first.threads} to {last.threads} threads"
            )
