// @ts-check
/** A wish and the pictures that come of it, one for each seed, all in one request. */
import { cancelEdit, randomId } from "./api.js";
import { streamEdits } from "./edit_stream.js";
import { Problem } from "./problem.js";

/** @typedef {import("./edit_stream.js").Part} Part */
/** @typedef {import("./types.js").EditSettings} EditSettings */

/**
 * @typedef {{
 *   seed: number, state: "waiting" | "running" | "done" | "left", url: string, picture: Blob | null,
 *   progress: number, totalMs: number | null, alone: string, loading: Promise<void> | null,
 * }} Tile
 */

export class Run extends EventTarget {
  /** @type {Tile[]} */
  tiles;
  selected = 0;
  running = false;
  /** @type {Problem | null} */
  problem = null;
  #abort = new AbortController();
  #id = randomId();

  /**
   * @param {EditSettings} settings of the first picture; picture k has seed + k.
   * @param {number} count
   */
  constructor(settings, count) {
    super();
    this.settings = settings;
    this.tiles = Array.from({ length: count }, (_, index) => emptyTile(settings.seed + index));
  }

  /** Ends when all pictures are there, or something failed, or it was stopped; `problem` says which. */
  async start() {
    this.running = true;
    try {
      const parts = streamEdits(this.settings, this.tiles.length, this.#id, this.#abort.signal);
      for await (const part of parts) this.#take(this.tiles[part.index], part);
    } catch (error) {
      if (!this.#abort.signal.aborted) this.problem = Problem.from(error);
    }
    this.running = false;
    this.tiles.filter(({ state }) => state !== "done").forEach((tile) => (tile.state = "left"));
    this.#changed();
  }

  /** Lets go of what is not done; the server stops computing it. */
  stop() {
    if (!this.running) return;
    cancelEdit(this.#id).catch(() => {});
    this.#abort.abort();
  }

  /** @param {number} index */
  select(index) {
    this.selected = index;
    this.#changed();
  }

  /**
   * The same wish and seed without the subject, which shows what the tail does; made once and kept.
   *
   * @param {Tile} tile
   */
  async loadAlone(tile) {
    if (tile.alone) return;
    tile.loading ??= this.#makeAlone(tile).finally(() => {
      tile.loading = null;
      this.#changed();
    });
    this.#changed();
    await tile.loading;
  }

  /** @param {Tile} tile */
  async #makeAlone(tile) {
    const settings = { ...this.settings, seed: tile.seed, tail: null };
    for await (const { picture, done } of streamEdits(settings, 1, randomId(), null)) {
      if (done) tile.alone = URL.createObjectURL(picture);
    }
  }

  /**
   * @param {Tile} tile
   * @param {Part} part
   */
  #take(tile, { picture, done, progress, totalMs }) {
    if (tile.url) URL.revokeObjectURL(tile.url);
    Object.assign(tile, { url: URL.createObjectURL(picture), state: done ? "done" : "running", progress, totalMs });
    tile.picture = done ? picture : null;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @param {number} seed
 * @returns {Tile}
 */
function emptyTile(seed) {
  return { seed, state: "waiting", url: "", picture: null, progress: 0, totalMs: null, alone: "", loading: null };
}
