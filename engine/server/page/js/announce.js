// @ts-check
/** Words for those who hear the page: one polite live region for all of it. */

/** @param {string} text */
export function announce(text) {
  const place = /** @type {HTMLElement} */ (document.getElementById("announcer"));
  // The same words twice are only read again when the region was empty in between.
  place.textContent = "";
  setTimeout(() => (place.textContent = text), 50);
}
