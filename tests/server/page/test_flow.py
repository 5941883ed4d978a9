"""What people do with the page. Oracles: the store, and the files that are downloaded."""

import io
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from PIL import Image
from playwright.sync_api import expect

from engine.server.edit_client import EditClient
from engine.server.engine_options import EngineOptions
from engine.server.services import Services
from tests.server.page.acting import OpenPage, add_tail, alert, begin_fit, fill_in, go_on, lose_answers, wish
from tests.server.test_fits_routes import picture
from tests.server.test_tails_routes import DATA


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
    expect(page.locator("#fit-eta")).to_have_text(re.compile("^at most .+ left$"))
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


def test_the_text_alone_is_made_once_even_after_escape(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page()
    wish(page, "a cat")
    expect(page.get_by_role("button", name="Save picture")).to_be_visible()
    page.get_by_label("Prompt").press("Escape")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.get_by_role("button", name="Compare without the tail").dblclick()
    expect(page.get_by_alt_text("without the tail")).to_be_visible()
    expect(page.get_by_role("button", name="Compare with the original")).to_be_focused()
    expect(page.get_by_role("slider", name="How much of the picture without the tail is shown")).to_be_visible()
    assert asked.count("/v1/images/generations") == 1 and not any("/cancel" in path for path in asked)


def test_a_comparison_that_fails_is_tried_again(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page(complains="ERR_FAILED")
    wish(page, "a cat")
    expect(page.get_by_role("button", name="Save picture")).to_be_visible()
    page.route("**/v1/images/generations", lambda route: route.abort())
    page.get_by_role("button", name="Compare without the tail").click()
    expect(alert(page)).to_contain_text("The server does not answer")
    page.unroute("**/v1/images/generations")
    alert(page).get_by_role("button", name="Try again").click()
    expect(page.get_by_alt_text("without the tail")).to_be_visible()


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
    page.get_by_role("dialog").get_by_role("button", name="Let it learn").click()
    assert services.store.fits("local")[0].state == "queued"
    cancel.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the fit").click()
    expect(alert(page)).to_contain_text("It was cancelled")
    assert services.store.fits("local")[0].state == "cancelled"
    expect(page.locator("#subjects li")).to_contain_text("cancelled")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Teach it one picture")).to_be_visible()
    assert services.store.fits("local") == []


def test_a_fit_that_failed_says_why_and_is_tried_again(open_page: OpenPage, services: Services, url: str) -> None:
    form = {"prompt": "a dog", "name": "Rex", "crop": "pad", "seed": 7, "steps": 20}
    assert httpx.post(f"{url}/v1/fits", files={"image": picture("orange")}, data=form).status_code == 202
    fit = begin_fit(services)
    page = open_page(f"#/fit/{fit.id}", complains="ERR_FAILED")
    expect(page.get_by_role("heading", name="Learning Rex")).to_be_visible()
    services.store.fail_fit(fit.id, fit.fence, {"code": "diverged", "message": "the loss is no number any more"})
    expect(alert(page)).to_contain_text("the loss is no number any more")
    lose_answers(page, "**/v1/fits")
    alert(page).get_by_role("button", name="Try again").click()
    expect(alert(page)).to_contain_text("The server does not answer")
    page.unroute("**/v1/fits")
    alert(page).get_by_role("button", name="Try again").click()
    expect(page.locator("#fit-state")).to_have_text("next in the queue")
    [again] = services.store.fits("local")
    assert again.id != fit.id
    assert (again.settings, again.image, again.name) == (fit.settings, fit.image, fit.name)


def test_a_fit_whose_answer_was_lost_is_not_made_twice(open_page: OpenPage, services: Services) -> None:
    page = open_page(complains="ERR_FAILED")
    fill_in(page, prompt="a dog " + "and a dog " * 20, name="")
    lose_answers(page, "**/v1/fits")
    page.get_by_role("button", name="Learn this subject").click()
    expect(alert(page)).to_contain_text("The server does not answer")
    page.get_by_label("If it is not square").evaluate("element => element.value = 'pad'")
    page.get_by_role("button", name="Learn this subject").click()
    expect(alert(page)).to_contain_text("The server does not answer")
    page.unroute("**/v1/fits")
    alert(page).get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Learning a dog and a dog")).to_be_visible()
    assert sorted(fit.settings.crop for fit in services.store.fits("local")) == ["centre", "pad"]


def test_what_is_missing_and_what_is_refused_is_said(open_page: OpenPage, services: Services, tmp_path: Path) -> None:
    page = open_page(complains="422|415")
    learn = page.get_by_role("button", name="Learn this subject")
    learn.click()
    expect(alert(page)).to_contain_text("Something is missing")
    expect(alert(page)).to_contain_text("There is no picture yet")
    expect(page.get_by_role("button", name="Choose a file")).to_be_focused()
    giant = tmp_path / "giant.png"
    giant.touch()
    os.truncate(giant, services.settings.max_body_bytes + 1)
    page.locator("#file").set_input_files(giant)
    learn.click()
    expect(alert(page)).to_contain_text("The file is too large")
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
    expect(alert(page)).to_contain_text("try again")
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


def test_a_long_name_is_cut(open_page: OpenPage, services: Services) -> None:
    page = open_page()
    page.locator("#import-file").set_input_files(
        {"name": f"{'Ü' * 120}.hiper.safetensors", "mimeType": "application/octet-stream", "buffer": DATA}
    )
    expect(page.get_by_role("heading", name="Ü" * 100)).to_be_visible()
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("dialog").get_by_role("textbox")).to_have_attribute("maxlength", "100")
    assert [tail.name for tail in services.store.tails("local")] == ["Ü" * 100]


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
    expect(page).to_have_title("Rex <b>II</b> · HiPer")
    assert [tail.name for tail in services.store.tails("local")] == ["Rex <b>II</b>"]
    page.locator("#import-file").set_input_files(
        {"name": "x.safetensors", "mimeType": "application/octet-stream", "buffer": b"no tail"}
    )
    expect(page.get_by_role("dialog")).to_contain_text("This is no tail that can be used here")
    expect(page.get_by_role("dialog").get_by_role("button")).to_have_text("Close")


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


def test_the_time_left_follows_the_pace_since_the_last_pause(open_page: OpenPage) -> None:
    page = open_page()
    left = page.evaluate(
        """async () => {
            const {Pace} = await import("/page/js/pace.js");
            const pace = new Pace();
            const tell = (step, at) => pace.secondsLeft({step, steps: 100, at});
            const found = [tell(10, 1000), tell(20, 1005), tell(40, 1015)];
            pace.restart();
            return [...found, tell(50, 2000), tell(60, 2020)];
        }"""
    )
    assert left == [None, 40, 30, None, 80]
