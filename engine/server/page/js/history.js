// @ts-check
/** All runs since the page was opened, each subject's own; the pictures are in this page and nowhere else. */
import { element } from "./dom.js";

/** @typedef {import("./run.js").Run} Run */

/** @type {Run[]} */
const runs = [];

/** @param {Run} run */
export function remember(run) {
  runs.unshift(run);
}

/** @param {string} tail */
export function runsOf(tail) {
  return runs.filter(({ settings }) => settings.tail === tail);
}

/**
 * @param {HTMLElement} section
 * @param {HTMLElement} row
 * @param {string} tail
 * @param {Run | null} current is shown already.
 * @param {(run: Run, index: number) => void} onChoose
 */
export function showHistory(section, row, tail, current, onChoose) {
  const pictures = runsOf(tail)
    .filter((run) => run !== current)
    .flatMap((run) => run.tiles.map((tile, index) => ({ run, tile, index })))
    .filter(({ tile }) => tile.picture);
  section.hidden = pictures.length === 0;
  const key = pictures.map(({ tile }) => tile.url).join(" ");
  if (row.dataset.key === key) return;
  row.dataset.key = key;
  row.replaceChildren(
    ...pictures.map(({ run, tile, index }) => {
      const words = `${run.settings.prompt}, seed ${tile.seed}`;
      const button = element(
        "button",
        { type: "button", "aria-label": words, title: words },
        element("img", { src: tile.url, alt: "" }),
      );
      button.addEventListener("click", () => onChoose(run, index));
      return element("li", {}, button);
    }),
  );
}
