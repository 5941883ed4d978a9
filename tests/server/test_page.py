"""The page in a real browser, against the real front, store and engine; a worker's part is played by hand.

Oracles: the store, the files that are downloaded, and what WCAG 2.2 says about names, contrast and reflow.
"""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import BlockingPortal
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from starlette.testclient import TestClient

from engine.server.edit_client import EditClient
from engine.server.engine_options import EngineOptions
from engine.server.records import FitRow
from engine.server.routes.page import page_files
from engine.server.services import Services
from tests.server.serving import serving
from tests.server.test_fits_routes import picture
from tests.server.test_tails_routes import DATA

PAGE = files("engine.server").joinpath("page")
LEASE_S = 600
PATIENCE_MS = 30_000
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: Playwright's event loop would be in the way of tests that start their own.
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium found under the names {', '.join(NAMES)}; apt install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox.
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def url(services: Services, portal: BlockingPortal) -> Iterator[str]:
    with serving(services, portal) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[OpenPage]:
    """Open the page as a browser of its own; in the end none has asked others for anything, nor complained."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    strangers: list[str] = []

    def open(place: str = "", complains: str = "", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if _is_bad(message.type, message.text, complains) else None,
        )
        page.on("request", lambda request: strangers.append(request.url) if _is_stranger(request.url, url) else None)
        page.goto(f"{url}/{place}")
        return page

    yield open
    for context in contexts:
        context.close()
    assert complaints == [] and strangers == []


def _is_bad(kind: str, text: str, expected: str) -> bool:
    return kind in ("error", "warning") and not (expected and re.search(expected, text))


def _is_stranger(requested: str, url: str) -> bool:
    return not requested.startswith((url, "blob:", "data:"))


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


def alert(page: Page) -> Locator:
    return page.get_by_role("alert")


def test_a_picture_is_learned_edited_compared_saved_and_deleted(
    open_page: OpenPage, services: Services, tmp_path: Path
) -> None:
    page = open_page()
    fill_in(page)
    expect(page.get_by_alt_text("The chosen picture")).to_be_visible()
    page.get_by_role("button", name="Learn this subject").click()
    expect(page.locator("#fit-state")).to_have_text("next in the queue")

    fit = begin_fit(services)
    go_on(services, fit, 3, [0.5, 0.4, 0.3])
    expect(page.locator("#fit-state")).to_have_text("step 3 of at most 100")
    expect(page.get_by_role("img", name="Loss curve: 3 values")).to_be_visible()
    go_on(services, fit, 5, [0.2, 0.2])
    expect(page.get_by_role("img", name="Loss curve: 5 values")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_js_property("value", 0.05)
    services.store.record_preview(fit.id, fit.fence, 5, picture("blue"))
    expect(page.get_by_alt_text("a dog, after 5 steps")).to_have_attribute("src", re.compile("^blob:"))
    tail = services.store.finish_fit(fit.id, fit.fence, DATA)
    assert tail is not None
    page.wait_for_url(f"**/#/subject/{tail.id}")
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    expect(page.locator("#tail-size")).to_contain_text("vectors")

    wish(page, "a cat", count=4)
    tiles = page.locator(".tile[data-state=done]")
    expect(tiles).to_have_count(4)
    tiles.nth(2).click()
    expect(tiles.nth(2)).to_have_attribute("aria-pressed", "true")
    slider = page.get_by_role("slider", name="How much of the original is shown")
    slider.press("End")
    expect(page.locator(".compare")).to_have_css("--split", "100%")
    for _ in range(3):
        slider.press("ArrowLeft")
    expect(page.locator(".compare")).to_have_css("--split", "97%")
    expect(page.get_by_alt_text("original")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    assert re.fullmatch(r"Rex-a-cat-\d+\.png", download.value.suggested_filename)
    download.value.save_as(tmp_path / "cat.png")
    with Image.open(tmp_path / "cat.png") as saved:
        assert saved.size == (services.manifest.image_size,) * 2
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the tail").click()
    assert download.value.suggested_filename == "Rex.hiper.safetensors"
    assert Path(download.value.path()).read_bytes() == DATA

    wish(page, "a dog", count=2)
    expect(tiles).to_have_count(2)
    page.get_by_role("button", name=re.compile("^a cat, seed")).first.click()
    expect(page.get_by_label("Prompt")).to_have_value("a cat")
    expect(tiles).to_have_count(4)

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Teach it one picture")).to_be_visible()
    expect(page.locator("#subjects li")).to_have_count(0)
    assert services.store.tails("local") == [] and services.store.fits("local") == []


def test_the_seed_that_is_kept_makes_the_same_picture(open_page: OpenPage, services: Services, tmp_path: Path) -> None:
    add_tail(services)
    page = open_page()

    def made(seed: str | None) -> tuple[bytes, str]:
        if seed:
            page.get_by_label("Seed", exact=True).fill(seed)
        wish(page, "a cat")
        expect(page.locator("#make")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save picture").click()
        return Path(download.value.path()).read_bytes(), page.get_by_label("Seed", exact=True).input_value()

    first, second, third = made("7"), made(None), made("8")
    assert first == second and first[1] == "7" and third[0] != first[0]


def test_an_edit_is_compared_with_the_text_alone(open_page: OpenPage, services: Services) -> None:
    add_tail(services, image=False)
    page = open_page()
    expect(page.locator(".stage-empty")).to_be_visible()
    wish(page, "a cat")
    page.get_by_role("button", name="Compare without the tail").click()
    expect(page.get_by_alt_text("without the tail")).to_be_visible()
    expect(page.locator(".compare")).to_have_css("--split", "50%")


def test_an_edit_that_is_stopped_is_cancelled_on_the_server(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page(complains="404")  # the request that is cancelled never got there
    page.route("**/v1/images/generations", lambda route: None)
    with page.expect_request("**/v1/requests/*/cancel") as cancelled:
        with page.expect_request("**/v1/images/generations") as asked:
            wish(page, "a cat")
        page.get_by_role("button", name="Stop").click()
    assert urlsplit(cancelled.value.url).path.split("/")[3] == asked.value.headers["x-request-id"]
    expect(page.get_by_role("button", name="Make it")).to_be_visible()
    expect(alert(page)).to_have_count(0)


def test_a_fit_that_runs_is_found_after_a_reload_and_by_another_browser(
    open_page: OpenPage, services: Services
) -> None:
    page = open_page()
    fill_in(page)
    page.get_by_role("button", name="Learn this subject").click()
    expect(page.locator("#fit-state")).to_have_text("next in the queue")
    fit = begin_fit(services)
    go_on(services, fit, 30, [0.5] * 30)
    other = open_page()
    other.get_by_role("link", name="Rex").click()
    page.reload()
    for each in (page, other):
        expect(each.locator("#fit-state")).to_have_text("step 30 of at most 100")
        expect(each.get_by_role("img", name="Loss curve: 30 values")).to_be_visible()
    go_on(services, fit, 40, [0.4] * 10)
    for each in (page, other):
        expect(each.locator("#fit-state")).to_have_text("step 40 of at most 100")
        expect(each.locator("#subjects li")).to_contain_text("learning, 40 %")
    tail = services.store.finish_fit(fit.id, fit.fence, DATA)
    assert tail is not None
    for each in (page, other):
        each.wait_for_url(f"**/#/subject/{tail.id}")
        expect(each.locator("#tail-size")).to_contain_text("vectors")
        expect(each.locator("#subjects li img")).to_have_attribute("src", re.compile("^blob:"))
        expect(each.locator(".stage-original")).to_be_visible()
    services.store.delete_tail("local", tail.id)
    other.reload()
    expect(other.get_by_role("heading", name="Not here")).to_be_visible()


def test_a_fit_is_cancelled_after_a_question(open_page: OpenPage, services: Services) -> None:
    page = open_page()
    fill_in(page)
    page.get_by_role("button", name="Learn this subject").click()
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    cancel.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).click()
    assert services.store.fits("local")[0].state == "queued"
    cancel.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the fit").click()
    expect(alert(page)).to_contain_text("It was cancelled")
    assert services.store.fits("local")[0].state == "cancelled"
    expect(page.locator("#subjects li")).to_contain_text("cancelled")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Teach it one picture")).to_be_visible()
    assert services.store.fits("local") == []


def test_a_fit_that_failed_says_why_and_is_tried_again(open_page: OpenPage, services: Services) -> None:
    page = open_page()
    fill_in(page)
    page.locator("details.more summary").first.click()
    page.get_by_label("If it is not square").select_option("pad")
    page.get_by_role("button", name="Learn this subject").click()
    expect(page.locator("#fit-state")).to_have_text("next in the queue")
    fit = begin_fit(services)
    services.store.fail_fit(fit.id, fit.fence, {"code": "diverged", "message": "the loss is no number any more"})
    expect(alert(page)).to_contain_text("the loss is no number any more")
    alert(page).get_by_role("button", name="Try again").click()
    expect(page.locator("#fit-state")).to_have_text("next in the queue")
    [again] = services.store.fits("local")
    assert again.id != fit.id
    assert (again.settings, again.image, again.name) == (fit.settings, fit.image, fit.name)


def test_what_is_missing_and_what_is_refused_is_said(open_page: OpenPage, services: Services) -> None:
    page = open_page(complains="422|415")
    learn = page.get_by_role("button", name="Learn this subject")
    learn.click()
    expect(alert(page)).to_contain_text("There is no picture yet")
    expect(page.get_by_role("button", name="Choose a file")).to_be_focused()
    giant = bytes(services.settings.max_body_bytes + 1)
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": giant})
    learn.click()
    expect(alert(page)).to_contain_text("this server takes at most 21.0 MB")
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    learn.click()
    expect(alert(page)).to_contain_text("a standing dog")
    page.get_by_label("What does it show?").fill("a dog")
    learn.click()
    expect(alert(page)).to_contain_text("cannot be")
    expect(alert(page)).to_contain_text("Request req_")
    assert services.store.fits("local") == []


def test_an_edit_without_an_engine_is_explained_and_tried_again(
    open_page: OpenPage, services: Services, bundle: Path
) -> None:
    add_tail(services)
    page = open_page(complains="503")
    expect(page.locator("#health-text")).to_contain_text("toy")
    running, services.edits = services.edits, EditClient(EngineOptions(bundle, "onnxruntime"))
    wish(page, "a cat")
    expect(alert(page)).to_contain_text("The engine is not ready")
    services.edits = running
    alert(page).get_by_role("button", name="Try again").click()
    expect(page.get_by_alt_text("a cat")).to_be_visible()
    expect(alert(page)).to_have_count(0)


def test_a_server_that_is_gone_is_noticed_and_found_again(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page(complains="ERR_FAILED")
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    page.route("**/v1/**", lambda route: route.abort())
    wish(page, "a cat")
    expect(alert(page)).to_contain_text("The server does not answer")
    page.reload()
    expect(page.locator("#health-text")).to_have_text("no connection")
    page.unroute("**/v1/**")
    alert(page).get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    expect(page.locator("#health-text")).to_contain_text("toy")


def test_tails_are_imported_and_renamed(open_page: OpenPage, services: Services) -> None:
    page = open_page(complains="422")
    page.locator("#import-file").set_input_files(
        {"name": "Bella.hiper.safetensors", "mimeType": "application/octet-stream", "buffer": DATA}
    )
    expect(page.get_by_role("heading", name="Bella")).to_be_visible()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("Rex <b>II</b>")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Rex <b>II</b>")).to_be_visible()
    assert [tail.name for tail in services.store.tails("local")] == ["Rex <b>II</b>"]
    page.locator("#import-file").set_input_files(
        {"name": "x.safetensors", "mimeType": "application/octet-stream", "buffer": b"no tail"}
    )
    expect(page.get_by_role("dialog")).to_contain_text("This is no tail that can be used here")


def test_a_server_without_fits_says_so(open_page: OpenPage, services: Services) -> None:
    services.fits, services.no_fits = None, "this server makes no fits"
    page = open_page()
    expect(page.get_by_text("this server makes no fits")).to_be_visible()
    expect(page.get_by_role("button", name="Learn this subject")).to_be_disabled()


def test_a_picture_is_dropped_or_pasted(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator("#drop")).to_be_visible()
    for kind, field, target in (("drop", "dataTransfer", "#drop"), ("paste", "clipboardData", "body")):
        page.evaluate(SEND_PICTURE, [kind, field, target])
        expect(page.get_by_alt_text("The chosen picture")).to_be_visible()
        page.evaluate("document.querySelector('#chosen').hidden = true")


SEND_PICTURE = """([kind, field, target]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(8)], "a.png", {type: "image/png"}));
    const make = kind === "drop" ? DragEvent : ClipboardEvent;
    const event = new make(kind, {[field]: transfer, bubbles: true, cancelable: true});
    document.querySelector(target).dispatchEvent(event);
}"""


def test_examples_are_offered_where_menagerie_runs(open_page: OpenPage, services: Services) -> None:
    page = open_page()
    expect(page.get_by_role("button", name="Learn this subject")).to_be_enabled()
    expect(page.get_by_role("heading", name="Nothing at hand?")).to_be_hidden()
    object.__setattr__(services.manifest, "model_id", "menagerie")
    try:
        page.reload()
        page.get_by_role("button", name="Try Luna").click()
        page.get_by_role("button", name="Learn this subject").click()
        expect(page.get_by_role("heading", name="Learning Luna")).to_be_visible()
    finally:
        object.__setattr__(services.manifest, "model_id", "toy")
    [fit] = services.store.fits("local")
    with Image.open(io.BytesIO(services.store.image(fit.image))) as kept:
        assert kept.size == (256, 256) and fit.settings.prompt == "a standing cat at night"


def test_everything_works_by_keyboard_alone(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page()
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab_to(page, page.get_by_label("Prompt"))
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    expect(page.locator(".tile[data-state=done]")).to_have_count(4)
    expect(page.locator("#announcer")).to_have_text("4 of 4 pictures made of a dog")
    slider = page.get_by_role("slider", name="How much of the original is shown")
    tab_to(page, slider)
    page.keyboard.press("PageUp")
    expect(slider).to_have_value("10")
    tab_to(page, page.locator(".tile").nth(1))
    page.keyboard.press("Space")
    expect(page.locator(".tile").nth(1)).to_have_attribute("aria-pressed", "true")
    tab_to(page, page.get_by_label("Tail strength"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("output[for=strength]")).to_have_text(re.compile(r"^[\d.]+$"))
    tab_to(page, page.get_by_role("button", name="Delete"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
    assert len(services.store.tails("local")) == 1


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{target} is not reached by {key}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_readable_named_and_fits_a_phone(open_page: OpenPage, services: Services, scheme: str) -> None:
    tail = add_tail(services, name="Rexanne-Philippa-of-a-very-long-name-without-any-break")
    page = open_page(color_scheme=scheme, viewport={"width": 360, "height": 740}, has_touch=True)
    expect(page.locator("#tail-name")).to_be_visible()
    wish_on_phone(page, "a cat")
    expect(page.locator(".tile[data-state=done]")).to_have_count(4)
    page.get_by_role("slider").first.press("PageUp")
    check(page)
    page.goto(page.url.replace(f"#/subject/{tail}", "#/new"))
    page.locator("details.more summary").click()
    fill_in(page)
    check(page)
    page.get_by_role("button", name="Learn this subject").click()
    expect(page.locator("#fit-state")).to_have_text("next in the queue")
    fit = begin_fit(services)
    go_on(services, fit, 30, [0.5, 0.1] * 15)
    services.store.record_preview(fit.id, fit.fence, 30, picture("blue"))
    expect(page.locator("#fit-preview-row img")).to_be_visible()
    check(page)
    page.get_by_role("button", name="Cancel").click()
    check(page)


def wish_on_phone(page: Page, prompt: str) -> None:
    page.locator("#settings > summary").click()
    wish(page, prompt, count=4)


def check(page: Page) -> None:
    # Colours on their way from one state to another are no state.
    page.add_style_tag(url="/page/css/theme.css")
    page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished.catch(() => {})))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(FAINT) == []
    assert page.locator("main h1").count() == 1
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len({*ids})
    assert page.locator("img:not([alt])").count() == 0


UNNAMED = """() => [...document.querySelectorAll("a, button, input, select, textarea, summary, [role=img], progress")]
    .filter((element) => element.checkVisibility() && element.type !== "file")
    .filter((element) => !(element.getAttribute("aria-label") || element.textContent.trim()
        || [...(element.labels ?? [])].some((label) => label.textContent.trim())
        || document.getElementById(element.getAttribute("aria-labelledby") ?? "")?.textContent.trim()))
    .map((element) => element.outerHTML)"""

# WCAG 2.2, 1.4.3: at least 4.5 to 1, and 3 to 1 for large text.
FAINT = """() => {
    const rgba = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const linear = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (element) => {
        if (!element) return [255, 255, 255, 1];
        const color = rgba(getComputedStyle(element).backgroundColor);
        return color[3] === 1 ? color : over(color, ground(element.parentElement));
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!words && !(element.value && element.type === "text")) continue;
        const shows = element.checkVisibility({opacityProperty: true});
        if (!shows || element.closest(".visually-hidden, :disabled")) continue;
        const style = getComputedStyle(element);
        const under = ground(element);
        const shown = rgba(element instanceof SVGElement ? style.fill : style.color);
        const [low, high] = [light(under), light(over(shown, under))].sort((a, b) => a - b);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const ratio = (high + 0.05) / (low + 0.05);
        if (ratio < (large ? 3 : 4.5)) found.push([element.outerHTML.slice(0, 120), ratio.toFixed(2)]);
    }
    return found;
}"""


def test_nothing_moves_for_those_who_want_it_so(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page(reduced_motion="reduce")
    expect(page.locator(".view")).to_have_css("animation-name", "none")


def test_a_key_is_asked_for_until_it_is_right(open_page: OpenPage, services: Services) -> None:
    key, token = services.store.add_key("alice")
    services.store.add_tail(key.id, "Rex", DATA)
    page = open_page(complains="401")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Your key").fill("hiper_wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("did not accept")
    dialog.get_by_role("textbox", name="Your key").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    wish(page, "a cat")
    expect(page.get_by_alt_text("a cat")).to_be_visible()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    page.reload()
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()


SSE = (
    ': hello\r\n\r\nevent: progress\ndata: {"step": 1}\nid: 7\n\n'
    "data:one\rdata: two é 🐕\r\rid\ndata\n\nevent: lost\n\ndata: unfinished"
)
EVENTS = [
    {"event": "progress", "data": '{"step": 1}', "id": "7"},
    {"event": "message", "data": "one\ntwo é 🐕", "id": "7"},
    {"event": "message", "data": "", "id": ""},
]
READ_IN_PIECES = """async ({bytes, size}) => {
    const {readEvents} = await import("/page/js/sse.js");
    const body = new ReadableStream({start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(Uint8Array.from(bytes.slice(at, at + size)));
        controller.close();
    }});
    const found = [];
    for await (const event of readEvents(new Response(body))) found.push(event);
    return found;
}"""


def test_server_sent_events_are_read_however_they_are_cut(open_page: OpenPage) -> None:
    page = open_page()
    for size in (1, 2, 3, 5, 7, 64, 1000):
        assert page.evaluate(READ_IN_PIECES, {"bytes": list(SSE.encode()), "size": size}) == EVENTS


def test_the_page_is_served_typed_tagged_and_locked_up(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-content-type-options"] == "nosniff"
    again = client.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/js/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/page/icon.svg").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "%2e%2e/app.py", "js/..%2f..%2fapp.py", "js", ""])
def test_nothing_but_the_page_is_served(client: TestClient, path: str) -> None:
    answer = client.get(f"/page/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_document_holds_no_code_and_names_only_what_is_there() -> None:
    document = PAGE.joinpath("index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", document)
    named = re.findall(r'"/page/([^"]+)"', document)
    scripts = [name for name in page_files() if name.endswith(".js")]
    imports = [
        f"js/{name}"
        for script in scripts
        for name in re.findall(r'from "\./([^"]+)"', PAGE.joinpath(script).read_text())
    ]
    assert {*named, *imports} <= set(page_files())
    assert {*scripts} - {"js/types.js"} <= {*named, *imports}
