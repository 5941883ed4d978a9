// @ts-check
/** The chosen picture, large, over what it is compared with: the original, or the same wish without the subject. */
import { announce } from "./announce.js";
import { Compare } from "./compare.js";
import { saveAs } from "./download.js";
import { element } from "./dom.js";
import { icon } from "./icons.js";
import { pictureUrl } from "./pictures.js";
import { duration, fileName } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Tile} Tile */
/** @typedef {import("./types.js").Tail} Tail */
/**
 * @typedef {{
 *   keepSeed: (seed: number) => void, onProblem: (error: unknown, retry: () => void) => void,
 * }} Wishes
 */

const WITHOUT_YET = "Making it without the tail";

export class Stage {
  #compare = new Compare();
  #empty = element("p", { class: "stage-empty" });
  #placeholder = element("img", { alt: "", class: "stage-original" });
  #original = "";
  /** @type {"original" | "alone"} */
  #with = "original";
  /** @type {Run | null} */
  #run = null;
  #place;
  #caption;
  #wishes;
  #tail;

  /**
   * @param {HTMLElement} place
   * @param {HTMLElement} caption
   * @param {Tail} tail
   * @param {string} fit how the original was made square: centre, pad or stretch.
   * @param {Wishes} wishes
   */
  constructor(place, caption, tail, fit, wishes) {
    this.#place = place;
    this.#caption = caption;
    this.#wishes = wishes;
    this.#tail = tail;
    this.fit = fit;
    this.#placeholder.dataset.fit = fit;
    this.#empty.textContent = tail.image ? "This is all it has seen. Wish for something." : "Wish for something.";
    if (tail.image)
      pictureUrl(tail.image).then(
        (url) => this.#showOriginal(url),
        () => {},
      );
    this.show(null);
  }

  /** @param {Run | null} run */
  show(run) {
    this.#run = run;
    const tile = run?.tiles[run.selected];
    if (!run || !tile?.url) return this.#showEmpty(tile);
    const before = this.#before(tile);
    this.#compare.show(before, { url: tile.url, words: run.settings.prompt, rough: tile.state !== "done" });
    if (this.#place.firstElementChild !== this.#compare.element) this.#place.replaceChildren(this.#compare.element);
    this.#place.dataset.state = tile.loading ? "running" : tile.state;
    this.#showCaption(run, tile);
  }

  /** @param {string} url */
  #showOriginal(url) {
    this.#original = url;
    this.#placeholder.src = url;
    this.#placeholder.alt = `The original: ${this.#tail.source_prompt}`;
    this.show(this.#run);
  }

  /** @param {Tile | undefined} tile */
  #showEmpty(tile) {
    this.#place.dataset.state = tile?.state ?? "empty";
    this.#place.replaceChildren(...(this.#original ? [this.#placeholder] : []), ...(tile ? [] : [this.#empty]));
    this.#caption.replaceChildren();
  }

  /** @param {Tile} tile */
  #showsAlone(tile) {
    return this.#with === "alone" && tile.alone !== "";
  }

  /** @param {Tile} tile */
  #before(tile) {
    if (this.#showsAlone(tile)) return { url: tile.alone, words: "without the tail" };
    return this.#original ? { url: this.#original, words: "original", fit: this.fit } : null;
  }

  /**
   * @param {Run} run
   * @param {Tile} tile
   */
  #showCaption(run, tile) {
    const { settings } = run;
    const facts = [`seed ${tile.seed}`, `${settings.num_inference_steps} steps`, `strength ${settings.tail_strength}`];
    if (tile.totalMs !== null) facts.push(duration(tile.totalMs / 1000));
    const words = element(
      "p",
      { class: "made" },
      element("q", {}, settings.prompt),
      element("span", { class: "fine" }, facts.join(" · ")),
    );
    const key = `${tile.seed} ${tile.state} ${this.#showsAlone(tile)} ${tile.loading !== null} ${tile.url}`;
    if (this.#caption.dataset.key === key && this.#caption.childElementCount) return;
    this.#caption.dataset.key = key;
    const focused = document.activeElement?.id === "swap";
    this.#caption.replaceChildren(words, ...(tile.state === "done" ? this.#buttons(run, tile) : []));
    if (focused) /** @type {HTMLElement | null} */ (this.#caption.querySelector("#swap"))?.focus();
  }

  /**
   * @param {Run} run
   * @param {Tile} tile
   */
  #buttons(run, tile) {
    const save = element("button", { type: "button" }, icon("download"), "Save picture");
    save.addEventListener(
      "click",
      () =>
        tile.picture &&
        saveAs(tile.picture, `${fileName(`${this.#tail.name} ${run.settings.prompt} ${tile.seed}`)}.png`),
    );
    const keep = element("button", { type: "button" }, "Keep this seed");
    keep.addEventListener("click", () => this.#wishes.keepSeed(tile.seed));
    const other = this.#showsAlone(tile) ? "original" : "alone";
    const words = { original: "Compare with the original", alone: "Compare without the tail" };
    const swap = element("button", { type: "button", id: "swap" }, tile.loading ? WITHOUT_YET : words[other]);
    swap.addEventListener("click", () => this.#compareWith(other, run, tile));
    swap.hidden = other === "original" && !this.#tail.image;
    return [element("div", { class: "caption-buttons" }, save, keep, swap)];
  }

  /**
   * @param {"original" | "alone"} other
   * @param {Run} run
   * @param {Tile} tile
   */
  async #compareWith(other, run, tile) {
    try {
      if (other === "alone") await run.loadAlone(tile);
    } catch (error) {
      return this.#wishes.onProblem(error, () => this.#compareWith(other, run, tile));
    }
    // Whoever has gone on to another picture meanwhile is not disturbed.
    if (this.#run?.tiles[this.#run.selected] !== tile) return;
    this.#with = other;
    this.#compare.reveal();
    this.show(run);
    announce(`Compared ${other === "alone" ? "without the tail" : "with the original"}`);
  }
}
