// @ts-check
/** The key for a server that wants one: asked for when it is needed, kept until the tab closes. */
import { ask } from "./dialog.js";

const SLOT = "hiper-key";
/** @type {Promise<boolean> | null} */
let asking = null;

export function currentKey() {
  return sessionStorage.getItem(SLOT);
}

/**
 * Asks for a key, once however many requests wait for it.
 *
 * @param {string | null} refused the key that was not accepted.
 * @returns {Promise<boolean>} whether there is another one now.
 */
export function askForKey(refused) {
  if (currentKey() !== refused) return Promise.resolve(true);
  asking ??= askOnce(refused).finally(() => (asking = null));
  return asking;
}

/** @param {string | null} refused */
async function askOnce(refused) {
  const text = refused ? "The server did not accept that key." : "This server wants one; whoever runs it can make one.";
  const key = await ask({ title: "Your key", text, yes: "Use this key", value: "", secret: true });
  if (!key) return false;
  sessionStorage.setItem(SLOT, key.trim());
  return true;
}
