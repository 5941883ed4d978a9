// @ts-check
/** Before and after, one over the other, and a slider between them: a range input, so that keys and fingers work. */
import { element } from "./dom.js";

export class Compare {
  #before = element("img", { alt: "", class: "before", draggable: "false" });
  #after = element("img", { alt: "", class: "after", draggable: "false" });
  #range = element("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 0,
    "aria-label": "How much of the original is shown",
  });
  #labels = [element("span", { class: "corner left" }), element("span", { class: "corner right" }, "edit")];

  element = element(
    "div",
    { class: "compare" },
    this.#after,
    this.#before,
    ...this.#labels,
    this.#range,
    element("span", { class: "handle", "aria-hidden": "true" }),
  );

  constructor() {
    this.#range.addEventListener("input", () => this.#split());
    this.#split();
  }

  /**
   * @param {{url: string, words: string, fit?: string} | null} before null: there is nothing to compare with.
   * @param {{url: string, words: string, rough: boolean}} after
   */
  show(before, after) {
    this.#after.src = after.url;
    this.#after.alt = after.words;
    this.#after.classList.toggle("rough", after.rough);
    const shown = before !== null && !after.rough;
    this.element.classList.toggle("comparing", shown);
    this.#range.disabled = !shown;
    if (!before) return;
    const words = before.words === "original" ? "the original" : `the picture ${before.words}`;
    this.#range.setAttribute("aria-label", `How much of ${words} is shown`);
    if (this.#before.getAttribute("src") !== before.url) this.#before.src = before.url;
    this.#before.alt = before.words;
    this.#before.dataset.fit = before.fit ?? "centre";
    this.#labels[0].textContent = before.words;
  }

  /** Shows half of each. */
  reveal() {
    this.#range.value = "50";
    this.#split();
  }

  #split() {
    const value = Number(this.#range.value);
    this.element.style.setProperty("--split", `${value}%`);
    this.#range.setAttribute("aria-valuetext", `${value} percent`);
    this.element.dataset.edge = value < 18 ? "left" : value > 82 ? "right" : "";
  }
}
