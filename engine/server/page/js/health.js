// @ts-check
/** One line at the top: what runs here, and whether it runs. */
import { announce } from "./announce.js";
import { finder } from "./dom.js";

/** @typedef {import("./library.js").Library} Library */

/** @param {Library} library */
export function startHealth(library) {
  const part = finder(document);
  const line = part("health", HTMLElement);
  const words = part("health-text", HTMLElement);
  library.addEventListener("change", () => {
    const { state, text } = health(library);
    if (line.dataset.state !== state && library.loaded && state !== "well") announce(text);
    line.dataset.state = state;
    if (words.textContent !== text) words.textContent = text;
  });
}

/** @param {Library} library */
function health({ problem, info }) {
  if (problem)
    return { state: "down", text: problem.code === "offline" ? "no connection" : problem.title.toLowerCase() };
  if (!info?.engine) return { state: "starting", text: "the engine is starting" };
  return { state: "well", text: [info.model, `${info.image_size} px`, info.runtime].filter(Boolean).join(" · ") };
}
