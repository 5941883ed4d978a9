// @ts-check
/** Questions: yes or no, or a line of text. The browser's own dialog keeps the focus in and gives it back. */
import { fromTemplate } from "./dom.js";

/**
 * @typedef {{
 *   title: string, text: string, yes: string, no?: string, value?: string, maxLength?: number, secret?: boolean,
 *   danger?: boolean,
 * }} Question `no`: "" for a message, to which there is only one answer.
 */

/**
 * Asks for a line of text.
 *
 * @param {Question} question
 * @returns {Promise<string | null>} null when it was cancelled.
 */
export function ask(question) {
  return open({ value: "", ...question });
}

/**
 * Asks for a yes.
 *
 * @param {Question} question
 */
export async function confirm(question) {
  return (await open(question)) !== null;
}

/**
 * @param {Question} question
 * @returns {Promise<string | null>}
 */
function open(question) {
  const { root, part } = fromTemplate("dialog");
  const dialog = /** @type {HTMLDialogElement} */ (root);
  const input = part("dialog-input", HTMLInputElement);
  part("dialog-title", HTMLElement).textContent = question.title;
  part("dialog-text", HTMLElement).textContent = question.text;
  part("dialog-yes", HTMLElement).textContent = question.yes;
  part("dialog-yes", HTMLElement).classList.toggle("danger", question.danger ?? false);
  const no = part("dialog-no", HTMLElement);
  no.textContent = question.no ?? "Cancel";
  no.hidden = question.no === "";
  no.addEventListener("click", () => dialog.close("no"));
  input.hidden = question.value === undefined;
  input.value = question.value ?? "";
  input.type = question.secret ? "password" : "text";
  if (question.maxLength) input.maxLength = question.maxLength;
  document.body.append(dialog);
  dialog.showModal();
  if (!input.hidden) input.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? input.value : null);
    });
  });
}
