// @ts-check
/** Icons for buttons whose words are read but not seen. */
import { element, svg } from "./dom.js";

const PATHS = {
  download: "M12 4v11m0 0-4-4m4 4 4-4M5 19h14",
  rename: "M4 20h4L19 9l-4-4L4 16z",
  delete: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  dice: "M5 5h14v14H5zM9 9h.01M15 9h.01M12 12h.01M9 15h.01M15 15h.01",
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "glyph", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}

/**
 * Turns a button's words into its label and tooltip, and shows an icon instead.
 *
 * @param {HTMLElement} button
 * @param {keyof typeof PATHS} name
 */
export function dress(button, name) {
  const label = button.textContent ?? "";
  button.title = label;
  button.replaceChildren(icon(name), element("span", { class: "visually-hidden" }, label));
}
