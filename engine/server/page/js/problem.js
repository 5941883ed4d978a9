// @ts-check
/** What can go wrong, as one kind of error, and how it is shown. */
import { element } from "./dom.js";

/** @typedef {import("./types.js").Failure} Failure */

const TITLES = /** @type {Record<string, string>} */ ({
  offline: "The server does not answer",
  engine_unavailable: "The engine is not ready",
  busy: "The server is full at the moment",
  draining: "The server is about to stop",
  quota_exceeded: "That was a lot at once",
  beyond_quota: "That is more than the key allows",
  deadline_missed: "It took too long",
  disk_full: "The server's disk is full",
  tails_full: "There is no room for another subject",
  bytes_full: "There is no room for another subject",
  prompt_invalid: "The prompt cannot be used",
  tail_invalid: "This is no tail that can be used here",
  tail_not_found: "This subject is gone",
  fit_not_found: "This fit is gone",
  incomplete: "Something is missing",
  too_large: "The file is too large",
  unsupported_media_type: "This kind of file cannot be read",
  image_invalid: "This picture cannot be used",
  edit_infinite: "The picture fell apart",
  unauthorized: "The key was not accepted",
  forbidden: "The key does not allow this",
  cancelled: "Cancelled",
  diverged: "The fit went astray",
  poison: "The fit failed three times",
});

export class Problem extends Error {
  /**
   * @param {Failure & {request_id?: string}} failure
   * @param {number} [retryAfter] seconds after which trying again makes sense.
   */
  constructor(failure, retryAfter) {
    super(failure.detail || failure.message || failure.title || `The server answered ${failure.status}.`);
    this.code = failure.code || "";
    this.status = failure.status || 0;
    this.requestId = failure.request_id || "";
    this.retryAfter = retryAfter;
  }

  get title() {
    return TITLES[this.code] || "That did not work";
  }

  /** @param {unknown} error */
  static from(error) {
    if (error instanceof Problem) return error;
    // fetch and a stream that breaks off tell no more than this.
    if (error instanceof TypeError)
      return new Problem({
        code: "offline",
        detail: "It may be starting again; nothing that it has accepted is lost.",
      });
    return new Problem({ detail: error instanceof Error ? error.message : String(error) });
  }

  /**
   * The server's word for it: problem+json of RFC 9457, or OpenAI's error object.
   *
   * @param {Response} response
   */
  static async ofResponse(response) {
    const body = await response.json().catch(() => ({}));
    const failure = body.error ?? body;
    const retryAfter = Number(response.headers.get("retry-after")) || undefined;
    const request_id = response.headers.get("x-request-id") ?? "";
    return new Problem({ request_id, ...failure, status: response.status }, retryAfter);
  }
}

/**
 * Shows what went wrong in `place`, in place of what was there.
 *
 * @param {HTMLElement} place
 * @param {unknown} error
 * @param {(() => void) | null} retry
 */
export function showProblem(place, error, retry) {
  const problem = Problem.from(error);
  const parts = [element("strong", {}, problem.title), element("p", {}, problem.message)];
  if (problem.requestId) parts.push(element("p", { class: "fine" }, `Request ${problem.requestId}`));
  if (retry) {
    const again = element("button", { type: "button" }, "Try again");
    again.addEventListener("click", () => (clearProblem(place), retry()));
    parts.push(again);
  }
  place.replaceChildren(element("div", { class: "problem", role: "alert" }, ...parts));
}

/** @param {HTMLElement} place */
export function clearProblem(place) {
  place.replaceChildren();
}
