// @ts-check
/** The loss of a fit over its steps: every measured value faintly, their running mean clearly. */
import { element, svg } from "./dom.js";

/** @typedef {[number, number][]} Points */

const MARGIN = { left: 44, right: 18, top: 10, bottom: 28 };
const HEIGHT = 202;

export class LossCurve {
  #losses = /** @type {Points} */ ([]);
  #steps = 0;
  #place;
  #observer;

  /** @param {HTMLElement} place the curve fills its width, and is drawn again when that changes. */
  constructor(place) {
    this.#place = place;
    this.#observer = new ResizeObserver(() => this.#draw());
    this.#observer.observe(place);
  }

  /**
   * @param {Points} losses [step, loss], in order.
   * @param {number} steps of the whole fit.
   */
  show(losses, steps) {
    this.#losses = losses;
    this.#steps = steps;
    this.#draw();
  }

  close() {
    this.#observer.disconnect();
  }

  #draw() {
    const width = this.#place.clientWidth;
    if (width === 0) return;
    const losses = this.#losses;
    if (losses.length < 2)
      return this.#place.replaceChildren(
        element("p", { class: "fine waiting" }, "The curve begins with the first steps."),
      );
    const mean = runningMean(losses);
    const last = /** @type {[number, number]} */ (mean.at(-1));
    const highest = Math.max(...losses.map(([, loss]) => loss));
    const gap = niceCeiling(highest / 4);
    const top = gap * Math.ceil(highest / gap);
    const x = scale(Math.max(this.#steps, last[0]), MARGIN.left, width - MARGIN.right);
    const y = scale(top, HEIGHT - MARGIN.bottom, MARGIN.top);
    const label = `Loss curve: ${losses.length} values, now about ${last[1].toFixed(3)} at step ${last[0]}`;
    this.#place.replaceChildren(
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label },
        ...ticks(top, 4).flatMap((value) => yTick(value, y(value), width)),
        ...ticks(Math.max(this.#steps, last[0]), width < 420 ? 3 : 6).map((value) =>
          text(x(value), HEIGHT - 8, "middle", String(value)),
        ),
        text(MARGIN.left - 12, HEIGHT - 8, "end", "step"),
        svg("path", { class: "loss-raw", d: path(losses, x, y) }),
        svg("path", { class: "loss-mean", d: path(mean, x, y) }),
        svg("circle", { class: "loss-now", cx: x(last[0]), cy: y(last[1]), r: 4 }),
      ),
    );
  }
}

/**
 * Exponential mean without the bias of its start (as in Adam).
 *
 * @param {Points} points
 * @returns {Points}
 */
export function runningMean(points, keep = 0.9) {
  let sum = 0;
  let weight = 0;
  return points.map(([step, loss]) => {
    sum = keep * sum + (1 - keep) * loss;
    weight = keep * weight + (1 - keep);
    return [step, sum / weight];
  });
}

/**
 * @param {number} to the value at `end`; at `start` it is 0.
 * @param {number} start
 * @param {number} end
 */
function scale(to, start, end) {
  return (/** @type {number} */ value) => start + (value / (to || 1)) * (end - start);
}

/** The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `value`. */
export function niceCeiling(/** @type {number} */ value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  const factor = [1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10;
  return factor * power;
}

/**
 * Round numbers from 0 up to `to`, about `count` of them.
 *
 * @param {number} to
 * @param {number} count
 */
function ticks(to, count) {
  const step = niceCeiling(to / count);
  return Array.from({ length: Math.floor(to / step + 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

/**
 * @param {number} value
 * @param {number} y
 * @param {number} width
 */
function yTick(value, y, width) {
  return [
    svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
    text(MARGIN.left - 8, y + 4, "end", String(value)),
  ];
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} anchor
 * @param {string} words
 */
function text(x, y, anchor, words) {
  return svg("text", { x, y, "text-anchor": anchor, class: "tick" }, words);
}

/**
 * @param {Points} points
 * @param {(step: number) => number} x
 * @param {(loss: number) => number} y
 */
function path(points, x, y) {
  return points
    .map(([step, loss], index) => `${index ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`)
    .join("");
}
