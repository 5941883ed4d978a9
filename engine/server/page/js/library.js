// @ts-check
/** What the server has: subjects, fits, and whether it is well. The server knows; this is a look at it. */
import { listFits, listTails, request } from "./api.js";
import { Problem } from "./problem.js";

/** @typedef {import("./types.js").FitLine} FitLine */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").Tail} Tail */

const BUSY_MS = 2000;
const CALM_MS = 10_000;

export class Library extends EventTarget {
  /** @type {Info | null} */
  info = null;
  /** @type {Tail[]} */
  tails = [];
  /** @type {FitLine[]} */
  fits = [];
  /** @type {Problem | null} */
  problem = null;
  loaded = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {Promise<void> | null} */
  #looking = null;

  /** Looks now, and then again and again; a hidden page rests. */
  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
    return this.refresh();
  }

  /** @returns {Promise<void>} */
  refresh() {
    this.#looking ??= this.#look().finally(() => (this.#looking = null));
    return this.#looking;
  }

  /** @param {string} id */
  tail(id) {
    return this.tails.find((tail) => tail.id === id) ?? null;
  }

  /** All but those whose subject is there. */
  get unfinishedFits() {
    return this.fits.filter((fit) => fit.status !== "succeeded");
  }

  get activeFits() {
    return this.fits.filter((fit) => fit.status === "queued" || fit.status === "running");
  }

  async #look() {
    clearTimeout(this.#timer);
    try {
      [this.info, this.tails, this.fits] = await Promise.all([
        readInfo(),
        ifAllowed(listTails()),
        ifAllowed(listFits()),
      ]);
      this.problem = null;
      this.loaded = true;
    } catch (error) {
      this.problem = Problem.from(error);
    }
    this.dispatchEvent(new Event("change"));
    const soon = this.activeFits.length > 0 || this.problem || !this.info?.engine;
    this.#timer = setTimeout(() => !document.hidden && this.refresh(), soon ? BUSY_MS : CALM_MS);
  }
}

/** @returns {Promise<Info>} */
async function readInfo() {
  return (await request("/v1/info")).json();
}

/**
 * What a key may not see is not there for it.
 *
 * @template Item
 * @param {Promise<Item[]>} list
 */
function ifAllowed(list) {
  return list.catch((error) => {
    if (error instanceof Problem && error.status === 403) return [];
    throw error;
  });
}
