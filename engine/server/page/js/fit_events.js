// @ts-check
/** A fit as it goes on: the server's events, read on through lost connections until the last one. */
import { getFit, request } from "./api.js";
import { Pace } from "./pace.js";
import { Problem } from "./problem.js";
import { readEvents } from "./sse.js";

/** @typedef {import("./types.js").Fit} Fit */
/** @typedef {{step: number, steps: number, loss: number, losses: number[], at: number}} Progress */

const RECONNECT_MS = 1000;
const GATHER_MS = 150;

/** @param {import("./types.js").FitLine} fit */
export function isOver(fit) {
  return fit.status !== "queued" && fit.status !== "running";
}

export class FitFollower {
  /** @type {Fit | null} */
  #fit = null;
  #last = "";
  #abort = new AbortController();
  #looking = false;
  #pace = new Pace();
  /** @type {number | null} */
  #secondsLeft = null;

  /**
   * @param {string} id
   * @param {(fit: Fit) => void} onFit told whenever there is something new.
   * @param {(problem: Problem | null) => void} onTrouble told when the connection is lost, and null when it is back.
   */
  constructor(id, onFit, onTrouble) {
    this.id = id;
    this.onFit = onFit;
    this.onTrouble = onTrouble;
  }

  close() {
    this.#abort.abort();
  }

  /** Ends with the fit, or with `close`. */
  async follow() {
    while (!this.#abort.signal.aborted) {
      try {
        const fit = await this.#look();
        if (isOver(fit)) return;
        await this.#listen();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        const problem = Problem.from(error);
        this.onTrouble(problem);
        if (problem.status >= 400 && problem.status < 500) return;
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
      }
    }
  }

  async #look() {
    const fit = await getFit(this.id);
    this.#fit = fit;
    if (!this.#abort.signal.aborted) {
      this.onTrouble(null);
      this.#tell(fit);
    }
    return fit;
  }

  async #listen() {
    const headers = /** @type {Record<string, string>} */ (this.#last ? { "Last-Event-ID": this.#last } : {});
    const response = await request(`/v1/fits/${encodeURIComponent(this.id)}/events`, {
      signal: this.#abort.signal,
      headers,
    });
    for await (const event of readEvents(response)) {
      this.#last = event.id || this.#last;
      if (event.event === "progress") this.#progress(JSON.parse(event.data));
      else this.#lookSoon(event.event);
    }
  }

  /** @param {Progress} data */
  #progress(data) {
    if (!this.#fit) return;
    this.#secondsLeft = this.#pace.secondsLeft(data);
    if (addProgress(this.#fit, data)) this.#tell(this.#fit);
  }

  /** @param {Fit} fit */
  #tell(fit) {
    this.onFit({ ...fit, eta_s: this.#secondsLeft ?? fit.eta_s });
  }

  /**
   * Events from the past come all at once; one look is enough for them.
   *
   * @param {string} kind
   */
  #lookSoon(kind) {
    if (kind === "queued" || kind === "resumed") this.#pace.restart();
    if (this.#looking) return;
    this.#looking = true;
    setTimeout(() => {
      this.#looking = false;
      if (!this.#abort.signal.aborted) this.#look().catch(() => {});
    }, GATHER_MS);
  }
}

/**
 * @param {Fit} fit changed in place, so that a long curve is not copied four times a second.
 * @param {Progress} data
 * @returns {boolean} whether it was news.
 */
export function addProgress(fit, { step, steps, loss, losses }) {
  if (step <= fit.step) return false;
  const before = step - losses.length;
  losses.forEach((value, index) => {
    if (before + index + 1 > fit.step) fit.losses.push([before + index + 1, value]);
  });
  Object.assign(fit, { status: "running", step, steps, loss });
  return true;
}
