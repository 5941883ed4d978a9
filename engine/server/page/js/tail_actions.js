// @ts-check
/** What can be done with a subject besides editing: take it along, rename it, delete it. */
import { announce } from "./announce.js";
import { MAX_NAME, deleteTail, renameTail, tailContent } from "./api.js";
import { ask, confirm } from "./dialog.js";
import { saveAs } from "./download.js";
import { dress } from "./icons.js";
import { go } from "./route.js";
import { paintVectors, readVectors } from "./tail_vectors.js";
import { tellProblem } from "./tell.js";
import { fileName, size } from "./words.js";

/** @typedef {import("./library.js").Library} Library */
/** @typedef {import("./types.js").Tail} Tail */
/** @typedef {ReturnType<typeof import("./dom.js").finder>} Part */

/**
 * @param {Part} part
 * @param {Library} library
 * @param {Tail} tail
 */
export function startTailActions(part, library, tail) {
  const actions = { "tail-download": download, "tail-rename": rename, "tail-delete": remove };
  const icons = /** @type {const} */ ({
    "tail-download": "download",
    "tail-rename": "rename",
    "tail-delete": "delete",
  });
  for (const [id, act] of Object.entries(actions)) {
    const button = part(id, HTMLButtonElement);
    dress(button, icons[/** @type {keyof typeof icons} */ (id)]);
    button.addEventListener("click", () => act(library.tail(tail.id) ?? tail, library).catch(tellProblem));
  }
  showVectors(part, tail).catch(() => {});
}

/** @param {Tail} tail */
async function download(tail) {
  saveAs(await tailContent(tail.id), `${fileName(tail.name)}.hiper.safetensors`);
}

/**
 * @param {Tail} tail
 * @param {Library} library
 */
async function rename(tail, library) {
  const question = { title: "What is its name?", text: tail.source_prompt, yes: "Rename", value: tail.name };
  const name = await ask({ ...question, maxLength: MAX_NAME });
  if (!name?.trim()) return;
  await renameTail(tail.id, name.trim());
  await library.refresh();
}

/**
 * @param {Tail} tail
 * @param {Library} library
 */
async function remove(tail, library) {
  const text = "Its vectors and its pictures are deleted from the server. A copy that you downloaded still works.";
  if (!(await confirm({ title: `Delete ${tail.name}?`, text, yes: "Delete", danger: true }))) return;
  await deleteTail(tail.id);
  announce(`${tail.name} is deleted`);
  await library.refresh();
  go("new");
}

/**
 * @param {Part} part
 * @param {Tail} tail
 */
async function showVectors(part, tail) {
  const vectors = readVectors(await (await tailContent(tail.id)).arrayBuffer());
  paintVectors(part("tail-canvas", HTMLCanvasElement), vectors);
  part("tail-size", HTMLElement).textContent =
    `all it knows: ${vectors.rows} vectors, ${size(vectors.values.byteLength)}`;
  part("tail-vectors", HTMLElement).hidden = false;
}
