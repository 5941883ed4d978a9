// @ts-check
/** The pictures of one run side by side, one for each seed; the one that is chosen is shown large. */
import { element } from "./dom.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Tile} Tile */

/**
 * @param {HTMLElement} place
 * @param {Run | null} run
 */
export function showTiles(place, run) {
  const several = run !== null && run.tiles.length > 1 && (run.running || run.tiles.some(({ url }) => url));
  const tiles = several ? run.tiles : [];
  place.hidden = tiles.length === 0;
  while (place.children.length > tiles.length) place.lastElementChild?.remove();
  tiles.forEach((tile, index) => fill(buttonAt(place, index), tile, run?.selected === index, () => run?.select(index)));
}

/**
 * @param {HTMLElement} place
 * @param {number} index
 */
function buttonAt(place, index) {
  const known = /** @type {HTMLButtonElement | undefined} */ (place.children[index]);
  if (known) return known;
  const button = element(
    "button",
    { type: "button", class: "tile" },
    element("img", { alt: "" }),
    element("span", { class: "tile-label" }),
  );
  place.append(button);
  return button;
}

/**
 * @param {HTMLButtonElement} button
 * @param {Tile} tile
 * @param {boolean} selected
 * @param {() => void} onChoose
 */
function fill(button, tile, selected, onChoose) {
  const [image, label] = /** @type {[HTMLImageElement, HTMLElement]} */ ([...button.children]);
  button.onclick = onChoose;
  button.setAttribute("aria-pressed", String(selected));
  button.dataset.state = tile.state;
  button.style.setProperty("--share", `${100 * tile.progress}%`);
  showUrl(image, tile.url);
  label.textContent = String(tile.seed);
  button.setAttribute("aria-label", `Seed ${tile.seed}${STATES[tile.state]}`);
}

const STATES = { waiting: ", waiting", running: ", being made", done: "", left: ", not finished" };

/**
 * @param {HTMLImageElement} image
 * @param {string} url
 */
export function showUrl(image, url) {
  image.hidden = url === "";
  if (url && image.getAttribute("src") !== url) image.src = url;
}
