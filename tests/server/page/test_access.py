"""The page for everybody: by keyboard, on a phone, in the dark. Oracle: WCAG 2.2 on names, contrast and reflow."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from engine.server.services import Services
from tests.server.page.acting import OpenPage, add_tail, begin_fit, fill_in, go_on, wish
from tests.server.test_fits_routes import picture


def test_everything_works_by_keyboard_alone(open_page: OpenPage, services: Services) -> None:
    add_tail(services)
    page = open_page()
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
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


@pytest.mark.parametrize("width", [1280, 390])
def test_what_stands_below_another_begins_where_it_begins(open_page: OpenPage, services: Services, width: int) -> None:
    add_tail(services)
    page = open_page(viewport={"width": width, "height": 860})
    expect(page.get_by_role("heading", name="Rex")).to_be_visible()
    (wish if width > 720 else wish_on_phone)(page, "a cat")
    expect(page.get_by_role("button", name="Compare without the tail")).to_be_visible()
    rows: dict[float, list[float]] = {}
    for left, top in page.evaluate(PLACES, "#stage, .made, .caption-buttons > *"):
        rows.setdefault(top, []).append(left)
    assert len({min(lefts) for lefts in rows.values()}) == 1
    if width > 720:
        assert len(rows) == 3
        assert len({left for left, _ in page.evaluate(PLACES, "#new-link, #import")}) == 1


# A button without a frame begins where its words do.
PLACES = """(which) => [...document.querySelectorAll(which)].map((element) => {
    const {left, top} = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    const inset = parseFloat(style.paddingLeft) + parseFloat(style.borderLeftWidth);
    return [element.matches(".quiet") ? left + inset : left, top];
})"""


@pytest.mark.parametrize("fingers", [True, False])
def test_only_those_who_can_drop_a_picture_are_told_to(open_page: OpenPage, fingers: bool) -> None:
    page = open_page(has_touch=fingers, is_mobile=fingers)
    expect(page.get_by_role("button", name="Choose a file")).to_be_visible()
    expect(page.get_by_text("Drop a picture here")).to_be_visible(visible=not fingers)
    expect(page.get_by_text("One picture is enough")).to_be_visible(visible=fingers)
    with page.expect_file_chooser():
        page.locator("#drop").click(position={"x": 20, "y": 20})


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
