// @ts-check
/** How an edit is made: sliders, seed, and what is left out. */
import { element } from "./dom.js";
import { dress } from "./icons.js";

/** @typedef {import("./types.js").EditSettings} EditSettings */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").Tail} Tail */
/** @typedef {ReturnType<typeof import("./dom.js").finder>} Part */
/** @typedef {Omit<EditSettings, "prompt" | "tail" | "seed">} Knobs */

const MAX_SEED = 2 ** 32 - 1;
const ROLLED_BELOW = 100_000;
const SOLVERS = /** @type {Record<string, string>} */ ({ ddim: "DDIM", dpmpp_2m: "DPM-Solver++(2M)", euler: "Euler" });

/** What was chosen, for all subjects while the page is open; only the tail's strength is each subject's own. */
const chosen = { knobs: /** @type {Knobs | null} */ (null), count: 4, seed: rolled(), fresh: true, lock: false };

export class SettingsPanel {
  #part;
  #usual;

  /**
   * @param {Part} part
   * @param {Info} info
   * @param {Tail} tail
   */
  constructor(part, info, tail) {
    this.#part = part;
    const tail_strength = tail.tail_strength ?? info.defaults.tail_strength;
    this.#usual = { ...info.defaults, tail_strength, negative_prompt: "", solver: info.solvers[0] };
    this.#input("steps").max = String(info.limits.max_steps);
    part("solver", HTMLSelectElement).replaceChildren(
      ...info.solvers.map((value) => element("option", { value }, SOLVERS[value] ?? value)),
    );
    this.showKnobs({ ...this.#usual, ...chosen.knobs, tail_strength });
    this.#showSeed();
    this.#listen();
  }

  get count() {
    return chosen.count;
  }

  /**
   * The settings of the next edit; with a new seed, unless the last one is to be kept.
   *
   * @param {string} prompt
   * @param {string} tail
   * @returns {EditSettings}
   */
  take(prompt, tail) {
    if (!chosen.lock && !chosen.fresh) chosen.seed = rolled();
    chosen.fresh = false;
    this.#showSeed();
    return { prompt, tail, seed: chosen.seed, ...this.#knobs() };
  }

  /** @param {number} seed that the next picture shall have. */
  keepSeed(seed) {
    Object.assign(chosen, { seed, lock: true });
    this.#showSeed();
  }

  /** @param {Knobs} knobs */
  showKnobs(knobs) {
    this.#input("strength").value = String(knobs.tail_strength);
    this.#input("guidance").value = String(knobs.guidance_scale);
    this.#input("steps").value = String(knobs.num_inference_steps);
    this.#input("negative").value = knobs.negative_prompt;
    this.#part("solver", HTMLSelectElement).value = knobs.solver;
    this.#showValues();
  }

  /** @returns {Knobs} */
  #knobs() {
    return {
      tail_strength: Number(this.#input("strength").value),
      guidance_scale: Number(this.#input("guidance").value),
      num_inference_steps: Number(this.#input("steps").value),
      negative_prompt: this.#input("negative").value.trim(),
      solver: this.#part("solver", HTMLSelectElement).value,
    };
  }

  #listen() {
    const settings = this.#part("settings", HTMLElement);
    settings.addEventListener("input", () => this.#showValues());
    settings.addEventListener("change", () => (chosen.knobs = this.#knobs()));
    this.#part("defaults", HTMLElement).addEventListener("click", () => {
      chosen.knobs = null;
      this.showKnobs(this.#usual);
    });
    for (const radio of this.#counts()) radio.addEventListener("change", () => (chosen.count = Number(radio.value)));
    const dice = this.#part("dice", HTMLElement);
    dress(dice, "dice");
    dice.addEventListener("click", () => this.keepSeed(rolled()));
    this.#input("seed").addEventListener("change", () => this.keepSeed(seedOf(this.#input("seed").value)));
    this.#input("lock").addEventListener("change", () => (chosen.lock = this.#input("lock").checked));
  }

  #showSeed() {
    this.#input("seed").value = String(chosen.seed);
    this.#input("lock").checked = chosen.lock;
    for (const radio of this.#counts()) radio.checked = Number(radio.value) === chosen.count;
  }

  #showValues() {
    for (const output of this.#part("settings", HTMLElement).querySelectorAll("output"))
      output.value = this.#input(output.htmlFor.value).value;
  }

  /** @returns {NodeListOf<HTMLInputElement>} */
  #counts() {
    return this.#part("count", HTMLElement).querySelectorAll("input");
  }

  /** @param {string} id */
  #input(id) {
    return this.#part(id, HTMLInputElement);
  }
}

function rolled() {
  return Math.floor(Math.random() * ROLLED_BELOW);
}

/** @param {string} text */
function seedOf(text) {
  return Math.min(MAX_SEED, Math.max(0, Math.trunc(Number(text)) || 0));
}
