// @ts-check
/** A subject and all that can be wished of it. */
import { announce } from "./announce.js";
import { element, fromTemplate } from "./dom.js";
import { remember, runsOf, showHistory } from "./history.js";
import { clearProblem, showProblem } from "./problem.js";
import { Run } from "./run.js";
import { SettingsPanel } from "./settings_panel.js";
import { Stage } from "./stage.js";
import { suggestions } from "./suggestions.js";
import { startTailActions } from "./tail_actions.js";
import { showTiles } from "./tiles.js";

/** @typedef {import("./library.js").Library} Library */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").Tail} Tail */
/** @typedef {import("./types.js").View} View */

const PHONE = "(max-width: 720px)";

class Studio {
  /** @type {Run | null} */
  #run = null;
  #part;
  #tail;
  #settings;
  #stage;
  #show = () => this.#showRun();

  /**
   * @param {ReturnType<typeof import("./dom.js").finder>} part
   * @param {Info} info
   * @param {Tail} tail
   * @param {string} crop
   */
  constructor(part, info, tail, crop) {
    this.#part = part;
    this.#tail = tail;
    this.#settings = new SettingsPanel(part, info, tail);
    const wishes = {
      keepSeed: (/** @type {number} */ seed) => this.#settings.keepSeed(seed),
      onProblem: (/** @type {unknown} */ error, /** @type {() => void} */ retry) => this.#showProblem(error, retry),
    };
    this.#stage = new Stage(part("stage", HTMLElement), part("caption", HTMLElement), tail, crop, wishes);
    this.#showChips();
    part("wish", HTMLFormElement).addEventListener("submit", (event) => (event.preventDefault(), this.make()));
    part("stop", HTMLElement).addEventListener("click", () => this.#run?.stop());
    part("wish", HTMLFormElement).addEventListener("keydown", ({ key }) => key === "Escape" && this.#run?.stop());
    this.#follow(runsOf(tail.id)[0] ?? null);
  }

  close() {
    this.#run?.removeEventListener("change", this.#show);
  }

  async make() {
    const target = this.#part("target", HTMLInputElement);
    const prompt = target.value.trim();
    if (!prompt) return target.focus();
    this.#run?.stop();
    const run = new Run(this.#settings.take(prompt, this.#tail.id), this.#settings.count);
    remember(run);
    const done = run.start();
    this.#follow(run);
    if (matchMedia(PHONE).matches) this.#part("stage", HTMLElement).scrollIntoView({ block: "nearest" });
    await done;
    const pictures = run.tiles.filter(({ picture }) => picture).length;
    announce(run.problem ? run.problem.title : `${pictures} of ${run.tiles.length} pictures made of ${prompt}`);
  }

  /** @param {Run | null} run */
  #follow(run) {
    this.#run?.removeEventListener("change", this.#show);
    this.#run = run;
    run?.addEventListener("change", this.#show);
    this.#showRun();
  }

  #showRun() {
    const run = this.#run;
    const running = run?.running ?? false;
    this.#stage.show(run);
    showTiles(this.#part("tiles", HTMLElement), run);
    this.#showButtons(running);
    if (run?.problem && !running) this.#showProblem(run.problem, () => this.make());
    else clearProblem(this.#part("edit-problem", HTMLElement));
    showHistory(
      this.#part("history", HTMLElement),
      this.#part("history-row", HTMLElement),
      this.#tail.id,
      run,
      (chosen, index) => this.#choose(chosen, index),
    );
  }

  /** @param {boolean} running */
  #showButtons(running) {
    const [make, stop] = [this.#part("make", HTMLButtonElement), this.#part("stop", HTMLButtonElement)];
    const focused = document.activeElement === make || document.activeElement === stop;
    make.hidden = running;
    stop.hidden = !running;
    if (focused) (running ? stop : make).focus();
  }

  /**
   * @param {Run} run
   * @param {number} index
   */
  #choose(run, index) {
    this.#part("target", HTMLInputElement).value = run.settings.prompt;
    this.#settings.showKnobs(run.settings);
    run.selected = index;
    this.#follow(run);
    this.#part("stage", HTMLElement).scrollIntoView({ block: "nearest" });
  }

  /**
   * @param {unknown} error
   * @param {() => void} retry
   */
  #showProblem(error, retry) {
    showProblem(this.#part("edit-problem", HTMLElement), error, retry);
  }

  #showChips() {
    const target = this.#part("target", HTMLInputElement);
    const chips = suggestions(this.#tail.source_prompt).map((prompt) => {
      const chip = element("button", { type: "button", class: "chip" }, prompt);
      chip.addEventListener("click", () => ((target.value = prompt), this.make()));
      return element("li", {}, chip);
    });
    this.#part("chips", HTMLElement).replaceChildren(...chips);
  }
}

/**
 * @param {Library} library
 * @param {Info} info
 * @param {Tail} tail
 * @returns {View}
 */
export function studioView(library, info, tail) {
  const { root, part } = fromTemplate("studio");
  const crop = library.fits.find(({ id }) => id === tail.fit)?.settings?.crop ?? "centre";
  if (matchMedia(PHONE).matches) part("settings", HTMLDetailsElement).open = false;
  const studio = new Studio(part, info, tail, String(crop));
  startTailActions(part, library, tail);
  const showNames = () => {
    part("tail-name", HTMLElement).textContent = library.tail(tail.id)?.name ?? tail.name;
    part("tail-prompt", HTMLElement).textContent = tail.source_prompt;
  };
  library.addEventListener("change", showNames);
  showNames();
  return {
    element: root,
    close() {
      library.removeEventListener("change", showNames);
      studio.close();
    },
  };
}
