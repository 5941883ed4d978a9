"""What a person does with the page, and what a fit worker does behind it."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, Route

from engine.server.records import FitRow
from engine.server.services import Services
from tests.server.test_fits_routes import picture
from tests.server.test_tails_routes import DATA

PATIENCE_MS = 30_000
LEASE_S = 600

OpenPage = Callable[..., Page]


def add_tail(services: Services, name: str = "Rex", *, image: bool = True) -> str:
    sha256 = services.store.put_image(picture("orange")) if image else None
    return services.store.add_tail("local", name, DATA, image=sha256).id


def begin_fit(services: Services) -> FitRow:
    claim = services.store.claim_fit(LEASE_S)
    assert claim is not None
    return claim.fit


def go_on(services: Services, fit: FitRow, step: int, losses: list[float]) -> None:
    assert services.store.record_step(fit.id, fit.fence, step, 100, losses, LEASE_S)


def fill_in(page: Page, prompt: str = "a dog", name: str = "Rex") -> None:
    page.locator("#file").set_input_files({"name": "rex.png", "mimeType": "image/png", "buffer": picture("orange")})
    page.get_by_label("What does it show?").fill(prompt)
    page.get_by_label("Its name").fill(name)


def wish(page: Page, prompt: str, *, count: int = 1, steps: int = 5) -> None:
    page.locator(f"#count input[value='{count}']").check()
    page.get_by_label("Steps").fill(str(steps))
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_label("Prompt").press("Enter")


def lose_answers(page: Page, place: str) -> None:
    """Let POST requests arrive and their answers get lost."""

    def handle(route: Route) -> None:
        if route.request.method != "POST":
            return route.continue_()
        route.fetch()
        route.abort()

    page.route(place, handle)


def alert(page: Page) -> Locator:
    return page.get_by_role("alert")
