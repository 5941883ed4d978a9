// @ts-check
/** A fit as it goes on: the server's events, read on through lost connections until the last one. */
import { getFit, request } from "./api.js";
import { Problem } from "./problem.js";
import { readEvents } from "./sse.js";

/** @typedef {import("./types.js").Fit} Fit */

const RECONNECT_MS = 1000;
const GATHER_MS = 150;

/** @param {Fit} fit */
export function isOver(fit) {
  return fit.status !== "queued" && fit.status !== "running";
}

export class FitFollower {
  /** @type {Fit | null} */
  #fit = null;
  #last = "";
  #abort = new AbortController();
  #looking = false;

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
      this.onFit(fit);
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
      if (event.event !== "progress") this.#lookSoon();
      else if (this.#fit && addProgress(this.#fit, JSON.parse(event.data))) this.onFit(this.#fit);
    }
  }

  /** Events from the past come all at once; one look is enough for them. */
  #lookSoon() {
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
 * @param {Record<string, any>} data of a progress event.
 * @returns {boolean} whether it was news.
 */
export function addProgress(fit, data) {
  if (data.step <= fit.step) return false;
  const losses = /** @type {number[]} */ (data.losses ?? []);
  const before = data.step - losses.length;
  losses.forEach((loss, index) => {
    if (before + index + 1 > fit.step) fit.losses.push([before + index + 1, loss]);
  });
  Object.assign(fit, {
    status: "running",
    step: data.step,
    steps: data.steps ?? fit.steps,
    eta_s: data.eta_s ?? fit.eta_s,
  });
  fit.loss = losses.at(-1) ?? data.loss ?? fit.loss;
  return true;
}
