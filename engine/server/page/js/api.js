// @ts-check
/** Requests to this server, with the key where there is one and one kind of error for all that fails. */
import { askForKey, currentKey } from "./key.js";
import { Problem } from "./problem.js";

/** @typedef {import("./types.js").Fit} Fit */
/** @typedef {import("./types.js").FitLine} FitLine */
/** @typedef {import("./types.js").Tail} Tail */

/** Characters that a subject's name may have. */
export const MAX_NAME = 100;

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} one that succeeded.
 * @throws {Problem}
 */
export async function request(path, init = {}) {
  for (;;) {
    const key = currentKey();
    const headers = new Headers(init.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    const response = await fetch(path, { ...init, headers });
    if (response.ok) return response;
    const wantsKey = response.status === 401 && (await askForKey(key));
    if (!wantsKey) throw await Problem.ofResponse(response);
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
export async function requestJson(path, init) {
  return (await request(path, init)).json();
}

/**
 * @param {string} method
 * @param {unknown} body
 * @returns {RequestInit}
 */
export function json(method, body) {
  return { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}

/** A name for a request that no other request has: 80 random bits. */
export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @returns {Promise<Tail[]>} newest first. */
export async function listTails() {
  return everyPage("/v1/tails");
}

/** @returns {Promise<FitLine[]>} newest first. */
export async function listFits() {
  return (await requestJson("/v1/fits?limit=50")).data;
}

/** @param {string} id */
export function getFit(id) {
  return /** @type {Promise<Fit>} */ (requestJson(`/v1/fits/${encodeURIComponent(id)}`));
}

/**
 * @param {FormData} form
 * @param {string} key the same again finds the same fit, so that a lost answer makes no second one.
 */
export function submitFit(form, key) {
  const headers = { "Idempotency-Key": key };
  return /** @type {Promise<Fit>} */ (requestJson("/v1/fits", { method: "POST", body: form, headers }));
}

/** @param {string} id */
export function cancelFit(id) {
  return request(`/v1/fits/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}

/** @param {string} id of a fit that has ended. */
export function deleteFit(id) {
  return request(`/v1/fits/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** @param {string} id */
export function cancelEdit(id) {
  return request(`/v1/requests/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}

/** @param {File} file */
export function importTail(file) {
  const form = new FormData();
  form.set("file", file);
  const name = asName(file.name.replace(/(\.hiper)?\.safetensors$/, ""));
  if (name) form.set("name", name);
  return /** @type {Promise<Tail>} */ (requestJson("/v1/tails", { method: "POST", body: form }));
}

/**
 * What the server takes as a name; "" where nothing is left.
 *
 * @param {string} text
 */
function asName(text) {
  return [...text.replace(/\p{Cc}/gu, " ").trim()].slice(0, MAX_NAME).join("").trim();
}

/**
 * @param {string} id
 * @param {string} name
 */
export function renameTail(id, name) {
  return request(tailPath(id), json("PATCH", { name }));
}

/** @param {string} id */
export function deleteTail(id) {
  return request(tailPath(id), { method: "DELETE" });
}

/** @param {string} id */
export async function tailContent(id) {
  return (await request(`${tailPath(id)}/content`)).blob();
}

/** @param {string} id */
export function tailPath(id) {
  return `/v1/tails/${encodeURIComponent(id)}`;
}

/** @param {string} path */
async function everyPage(path) {
  const found = [];
  for (let after = ""; ;) {
    const page = await requestJson(`${path}?limit=100${after && `&after=${encodeURIComponent(after)}`}`);
    found.push(...page.data);
    if (!page.has_more || page.data.length === 0) return found;
    after = page.data.at(-1).id;
  }
}
