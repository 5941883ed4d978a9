// @ts-check
/** Starts the page and shows the view that the address names. */
import { element } from "./dom.js";
import { fitView } from "./fit_view.js";
import { startHealth } from "./health.js";
import { Library } from "./library.js";
import { newSubject } from "./new_subject.js";
import { showProblem } from "./problem.js";
import { currentRoute, routeTo } from "./route.js";
import { startSide } from "./side.js";
import { studioView } from "./studio.js";

/** @typedef {import("./types.js").View} View */

const library = new Library();
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {View | null} */
let view = null;
/** What is shown: a subject that another browser deleted is shown as gone. */
let shown = "";

/** @returns {string} the address and whether there is something there. */
function wanted() {
  const { view, id } = currentRoute();
  const state = !library.loaded
    ? (library.problem?.code ?? "waiting")
    : view === "subject" && !library.tail(id)
      ? "gone"
      : "there";
  return `${view} ${id} ${state}`;
}

/** @returns {View} */
function open() {
  const route = currentRoute();
  if (!library.loaded) return waiting();
  if (route.view === "fit") return fitView(library, route.id);
  if (route.view === "new") return newSubject(library);
  const tail = library.tail(route.id);
  return tail && library.info ? studioView(library, library.info, tail) : gone();
}

/** @returns {View} */
function waiting() {
  const place = element("div", { class: "view" });
  if (library.problem) showProblem(place, library.problem, () => library.refresh());
  return { element: place, close() {} };
}

/** @returns {View} */
function gone() {
  const text = element("p", {}, "This subject is not on this server, or no longer.");
  const link = element("a", { class: "button", href: routeTo("new") }, "Start with a new one");
  return { element: element("div", { class: "view" }, element("h1", {}, "Not here"), text, link), close() {} };
}

/** Shows what is wanted, unless it is shown already. */
function show() {
  if (wanted() !== shown) {
    shown = wanted();
    view?.close();
    view = open();
    main.replaceChildren(view.element);
  }
  // Views hear of a change after this one, and a title is what they then say.
  queueMicrotask(showTitle);
}

function showTitle() {
  const title = main.querySelector("h1")?.textContent;
  document.title = title ? `${title} · HiPer` : "HiPer";
}

/** A view that somebody asked for begins at its top, for eyes and for keys. */
function showAnother() {
  show();
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

/** Those who come back find their newest subject. */
function beginAtNewest() {
  if (!library.loaded) return;
  library.removeEventListener("change", beginAtNewest);
  const [newest] = library.tails;
  if (newest && !location.hash) history.replaceState(null, "", routeTo("subject", newest.id));
}

library.addEventListener("change", beginAtNewest);
startSide(library);
startHealth(library);
library.addEventListener("change", show);
addEventListener("hashchange", showAnother);
// The address names the view; a link within the view would name another one.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
// A picture that misses its place must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
show();
library.start();
