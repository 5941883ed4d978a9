"""Promise 1: an acknowledged fit is never lost. Oracle: the same fit without any trouble, and the fit's own events."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tests.server.conftest import wait_until
from tests.server.promises.conftest import MINUTES, WholeFit
from tests.server.promises.deployment import EVERY, Deployment, Follower, Part, repeated_steps, until
from tests.server.promises.fits import check_results, submit

KILLS = 50 if MINUTES else 3
SEEDS = 2
PARTS: tuple[Part, ...] = ("worker", "front", "engine")


class Fits:
    """Two fits are always queued or running; each is asked for in the background, whatever is killed meanwhile."""

    def __init__(self, deployment: Deployment, pool: ThreadPoolExecutor) -> None:
        self._deployment, self._pool = deployment, pool
        self._asked: list[Future[Follower]] = []

    def all(self) -> list[Follower]:
        """Those that were acknowledged."""
        return [asked.result() for asked in self._asked if asked.done()]

    def running(self) -> Follower | None:
        """The one that makes steps."""
        return next((fit for fit in self.all() if not fit.ended and fit.checkpoints), None)

    def refill(self) -> None:
        unfinished = sum(not (asked.done() and asked.result().ended) for asked in self._asked)
        for _ in range(unfinished, 2):
            self._asked.append(self._pool.submit(submit, self._deployment, len(self._asked) % SEEDS))

    def by_seed(self) -> list[tuple[int, Follower]]:
        return [(number % SEEDS, asked.result()) for number, asked in enumerate(self._asked)]


def victims(kills: int) -> Iterator[Part]:
    """Each part as often as the others, in any order."""
    order = random.Random(5)
    for _ in range(0, kills, len(PARTS)):
        yield from order.sample(PARTS, len(PARTS))


def test_fits_end_as_if_nothing_had_been_killed(deployment: Deployment, whole_fit: WholeFit) -> None:
    moment = random.Random(7)
    killed = dict.fromkeys(PARTS, 0)
    with ThreadPoolExecutor(4) as pool:
        fits = Fits(deployment, pool)
        for victim in list(victims(KILLS))[:KILLS]:
            fits.refill()
            at_work(deployment, fits, moment)
            until(lambda victim=victim: deployment.kill(victim))
            killed[victim] += 1
            if victim == "front":
                time.sleep(moment.uniform(0, 0.5))
                deployment.up()
        until(lambda: all(fit.ended for _, fit in fits.by_seed()))
    check_results(deployment, {fit.id: whole_fit(seed) for seed, fit in fits.by_seed()})
    repeated = [steps for _, fit in fits.by_seed() for steps in repeated_steps(fit.events)]
    assert max(repeated) <= EVERY
    # A death of front or worker interrupts a fit; one that comes while none runs, or right after another, does not.
    assert 0 < len(repeated) <= killed["front"] + killed["worker"]
    wait_until(lambda: deployment.strays() == [])
    print(f"killed {killed}; {len(fits.all())} fits, steps made once more: {repeated}")


def at_work(deployment: Deployment, fits: Fits, moment: random.Random) -> None:
    """Wait for a moment at which a fit runs that has got further since the last kill.

    The third loss of a worker without a checkpoint in between ends a fit as poison, which it is not here.
    """
    before = {fit.id: fit.checkpoints for fit in fits.all()}

    def found() -> bool:
        fits.refill()
        fit = fits.running()
        return fit is not None and fit.checkpoints > before.get(fit.id, 0)

    until(found)
    time.sleep(moment.uniform(0, 0.5))


def test_who_asked_for_a_fit_may_go_away(deployment: Deployment) -> None:
    """Also of promise 2: a client that goes away never cancels a fit."""
    fit = submit(deployment, steps=2 * EVERY)
    until(lambda: fit.step)
    fit.stop()
    again = Follower(deployment, fit.id)
    until(lambda: again.ended)
    kinds = [event.kind for event in again.events]
    assert (kinds[:2], kinds[-1]) == (["queued", "started"], "succeeded")
    assert again.checkpoints == 2
