// @ts-check
/** How fast a fit goes, from the steps it has reported; the time in which a worker gets ready is no pace. */

export class Pace {
  /** @type {{step: number, at: number} | null} */
  #first = null;

  /** Forgets what was before a pause. */
  restart() {
    this.#first = null;
  }

  /**
   * @param {{step: number, steps: number, at: number}} progress `at` in seconds.
   * @returns {number | null} seconds until the last step; null as long as nobody knows.
   */
  secondsLeft({ step, steps, at }) {
    const first = (this.#first ??= { step, at });
    return step > first.step ? ((steps - step) * (at - first.at)) / (step - first.step) : null;
  }
}
