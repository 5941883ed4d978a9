// @ts-check
/** Which view the address names, so that reload and the back button work: #/new, #/fit/ID, #/subject/ID. */

/** @typedef {{view: "new" | "fit" | "subject", id: string}} Route */

/** @returns {Route} */
export function currentRoute() {
  const [, view, id] = location.hash.split("/");
  if ((view === "fit" || view === "subject") && id) return { view, id: decodeURIComponent(id) };
  return { view: "new", id: "" };
}

/**
 * @param {"new" | "fit" | "subject"} view
 * @param {string} [id]
 */
export function routeTo(view, id) {
  return id ? `#/${view}/${encodeURIComponent(id)}` : `#/${view}`;
}

/**
 * @param {"new" | "fit" | "subject"} view
 * @param {string} [id]
 */
export function go(view, id) {
  location.hash = routeTo(view, id);
}
