// @ts-check
/** The list of subjects, with the fits that are under way, or came to nothing, above them. */
import { importTail } from "./api.js";
import { announce } from "./announce.js";
import { element, finder } from "./dom.js";
import { isOver } from "./fit_events.js";
import { showPicture } from "./pictures.js";
import { currentRoute, go, routeTo } from "./route.js";
import { tellProblem } from "./tell.js";

/** @typedef {import("./library.js").Library} Library */
/**
 * @typedef {{
 *   view: "fit" | "subject", id: string, name: string, line: string, picture: string | null, share: number | null,
 * }} Entry
 */

/** @param {Library} library */
export function startSide(library) {
  const part = finder(document);
  const list = part("subjects", HTMLUListElement);
  const show = () => showEntries(list, entries(library));
  library.addEventListener("change", show);
  addEventListener("hashchange", show);
  const file = part("import-file", HTMLInputElement);
  part("import", HTMLButtonElement).addEventListener("click", () => file.click());
  file.addEventListener("change", () => takeTail(library, file));
}

/**
 * @param {Library} library
 * @returns {Entry[]}
 */
function entries(library) {
  const fits = library.unfinishedFits.map((fit) => {
    const share = isOver(fit) ? null : fit.status === "running" && fit.steps ? fit.step / fit.steps : 0;
    const lines = {
      queued: "waiting",
      running: `learning, ${Math.round((share ?? 0) * 100)} %`,
      failed: "failed",
      cancelled: "cancelled",
      succeeded: "",
    };
    const line = lines[fit.status];
    return { view: /** @type {const} */ ("fit"), id: fit.id, name: fit.name, line, picture: fit.image, share };
  });
  const tails = library.tails.map(({ id, name, source_prompt, image }) => {
    return { view: /** @type {const} */ ("subject"), id, name, line: source_prompt, picture: image, share: null };
  });
  return [...fits, ...tails];
}

/**
 * Changes what has changed and leaves the rest, so that the focus stays where it is.
 *
 * @param {HTMLUListElement} list
 * @param {Entry[]} shown
 */
function showEntries(list, shown) {
  const route = currentRoute();
  const known = new Map(
    [...list.children].map((item) => [
      /** @type {HTMLElement} */ (item).dataset.id,
      /** @type {HTMLLIElement} */ (item),
    ]),
  );
  const items = shown.map((entry) =>
    fill(known.get(entry.id) ?? emptyItem(entry.id), entry, route.view === entry.view && route.id === entry.id),
  );
  if (items.some((item, index) => item !== list.children[index]) || items.length !== list.children.length)
    list.replaceChildren(...items);
}

/** @param {string} id */
function emptyItem(id) {
  const link = element(
    "a",
    {},
    element("span", { class: "thumb" }),
    element("span", { class: "name" }),
    element("span", { class: "line" }),
  );
  return element("li", { "data-id": id }, link);
}

/**
 * @param {HTMLLIElement} item
 * @param {Entry} entry
 * @param {boolean} current
 */
function fill(item, entry, current) {
  const link = /** @type {HTMLAnchorElement} */ (item.firstElementChild);
  const [thumb, name, line] = /** @type {HTMLElement[]} */ ([...link.children]);
  link.href = routeTo(entry.view, entry.id);
  if (current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
  setText(name, entry.name);
  setText(line, entry.line);
  link.classList.toggle("under-way", entry.share !== null);
  link.style.setProperty("--share", `${100 * (entry.share ?? 0)}%`);
  showThumb(thumb, entry);
  return item;
}

/**
 * @param {HTMLElement} thumb
 * @param {Entry} entry
 */
function showThumb(thumb, { picture, name }) {
  if (!picture) return setText(thumb, name.trim().slice(0, 1).toUpperCase());
  if (!(thumb.firstElementChild instanceof HTMLImageElement)) thumb.replaceChildren(element("img", { alt: "" }));
  showPicture(/** @type {HTMLImageElement} */ (thumb.firstElementChild), picture);
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 */
function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/**
 * @param {Library} library
 * @param {HTMLInputElement} input
 */
async function takeTail(library, input) {
  const [file] = input.files ?? [];
  input.value = "";
  if (!file) return;
  try {
    const tail = await importTail(file);
    await library.refresh();
    announce(`${tail.name} is here`);
    go("subject", tail.id);
  } catch (error) {
    tellProblem(error);
  }
}
