// @ts-check
/** Edits as they appear: rough pictures while they denoise, then the pictures. */
import { json, request } from "./api.js";
import { Problem } from "./problem.js";
import { readEvents } from "./sse.js";

/** @typedef {import("./types.js").EditSettings} EditSettings */
/** @typedef {{index: number, picture: Blob, done: boolean, progress: number, totalMs: number | null}} Part */

const PARTIALS = 10;

/**
 * @param {EditSettings} settings of the first picture; picture k has seed + k.
 * @param {number} count
 * @param {string} requestId
 * @param {AbortSignal | null} signal leaving the stream cancels the edits.
 * @returns {AsyncGenerator<Part>}
 * @throws {Problem}
 */
export async function* streamEdits(settings, count, requestId, signal) {
  const init = json("POST", body(settings, count));
  const headers = { ...init.headers, "X-Request-Id": requestId };
  const response = await request("/v1/images/generations", { ...init, headers, signal });
  let missing = count;
  for await (const { event, data } of readEvents(response)) {
    const found = JSON.parse(data);
    if (event === "error") throw new Problem({ request_id: requestId, ...(found.error ?? found) });
    if (event.endsWith(".partial_image")) yield part(found, false);
    if (!event.endsWith(".completed")) continue;
    yield part(found, true);
    missing -= 1;
    if (missing === 0) return;
  }
  throw new Problem({
    code: "offline",
    detail: "The connection ended before the picture was there.",
    request_id: requestId,
  });
}

/**
 * @param {EditSettings} settings
 * @param {number} count
 */
function body({ tail, ...settings }, count) {
  const subject = tail === null ? {} : { tail };
  return { ...settings, ...subject, n: count, stream: true, partial_images: PARTIALS, output_format: "png" };
}

/**
 * @param {Record<string, any>} event
 * @param {boolean} done
 * @returns {Part}
 */
function part(event, done) {
  const progress = done ? 1 : event.step / event.steps;
  return {
    index: event.image_index,
    picture: decode(event.b64_json),
    done,
    progress,
    totalMs: event.timings?.total_ms ?? null,
  };
}

/** @param {string} base64 */
function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
