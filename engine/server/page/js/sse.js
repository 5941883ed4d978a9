// @ts-check
/**
 * Server-sent events out of any streamed response, since EventSource can neither POST nor send a key.
 * The format is the HTML standard's, section 9.2.6.
 *
 * @typedef {{event: string, data: string, id: string}} ServerEvent
 */

/** Cuts text into events; text may come in pieces of any size. */
export class EventParser {
  #rest = "";
  #started = false;
  #event = "";
  /** @type {string[]} */
  #data = [];
  #id = "";

  /**
   * @param {string} text
   * @returns {ServerEvent[]} those that `text` completes.
   */
  push(text) {
    this.#rest += text;
    if (!this.#started && this.#rest) {
      this.#rest = this.#rest.replace(/^\uFEFF/, "");
      this.#started = true;
    }
    // A carriage return at the very end may be half of a line break.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = /** @type {string} */ (lines.pop());
    return lines.flatMap((line) => this.#line(line));
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    if (field === "id" && !value.includes("\0")) this.#id = value;
    return [];
  }

  #dispatch() {
    const found = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    const complete = this.#data.length > 0;
    this.#event = "";
    this.#data = [];
    return complete ? [found] : [];
  }
}

/**
 * @param {Response} response with a body of type text/event-stream.
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(response) {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
