// @ts-check
/** The form for a new subject: a picture by drop, paste or choice, and a few words about it. */
import { randomId, submitFit } from "./api.js";
import { element, fromTemplate } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { Picker } from "./picker.js";
import { Problem, clearProblem, showProblem } from "./problem.js";
import { go } from "./route.js";
import { size } from "./words.js";

/** @typedef {import("./library.js").Library} Library */
/** @typedef {import("./types.js").View} View */
/** @typedef {(...content: unknown[]) => string} Keys */

/**
 * @param {Library} library
 * @returns {View}
 */
export function newSubject(library) {
  const { root, part } = fromTemplate("new-subject");
  const form = /** @type {HTMLFormElement} */ (root);
  const problem = part("new-problem", HTMLElement);
  const picker = new Picker(part);
  const onPaste = (/** @type {ClipboardEvent} */ event) =>
    picker.takeFrom(event.clipboardData) && event.preventDefault();
  document.addEventListener("paste", onPaste);
  showExamples(part("example-row", HTMLElement), form, picker);
  const showInfo = () => adapt(part, library);
  library.addEventListener("change", showInfo);
  showInfo();
  const keys = keysByContent();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(library, form, picker, keys, problem, part("learn", HTMLButtonElement));
  });
  return {
    element: form,
    close() {
      document.removeEventListener("paste", onPaste);
      library.removeEventListener("change", showInfo);
      picker.close();
    },
  };
}

/**
 * @param {HTMLElement} row
 * @param {HTMLFormElement} form
 * @param {Picker} picker
 */
function showExamples(row, form, picker) {
  for (const { file, name, prompt } of EXAMPLES) {
    const button = element(
      "button",
      { type: "button", class: "example" },
      element("img", { src: file, alt: "", width: 96, height: 96 }),
      element("span", {}, name),
    );
    button.setAttribute("aria-label", `Try ${name}, ${prompt}`);
    button.addEventListener("click", async () => {
      const picture = await (await fetch(file)).blob();
      picker.take(new File([picture], "example.png", { type: "image/png" }));
      field(form, "prompt").value = prompt;
      field(form, "name").value = name;
      form.querySelector("button[type=submit]")?.scrollIntoView({ block: "nearest" });
    });
    row.append(button);
  }
}

/**
 * @param {ReturnType<typeof import("./dom.js").finder>} part
 * @param {Library} library
 */
function adapt(part, { info }) {
  part("examples", HTMLElement).hidden = info?.model !== "menagerie";
  part("learn", HTMLButtonElement).disabled = info?.fits === false;
  part("no-fits", HTMLElement).textContent = info?.no_fits ?? "";
}

/**
 * @param {Library} library
 * @param {HTMLFormElement} form
 * @param {Picker} picker
 * @param {Keys} keys
 * @param {HTMLElement} place
 * @param {HTMLButtonElement} button
 */
async function submit(library, form, picker, keys, place, button) {
  const missing = whatIsMissing(form, picker, library.info?.limits.max_body_bytes ?? Infinity);
  if (missing) {
    missing.target.focus();
    return showProblem(place, new Problem(missing), null);
  }
  clearProblem(place);
  button.disabled = true;
  try {
    const body = fitForm(form, /** @type {File} */ (picker.file));
    const words = [...body.values()].filter((value) => typeof value === "string");
    const fit = await submitFit(body, keys(picker.file, ...words));
    await library.refresh();
    go("fit", fit.id);
  } catch (error) {
    showProblem(place, error, () => submit(library, form, picker, keys, place, button));
  } finally {
    button.disabled = false;
  }
}

/**
 * Gives a key for what is sent: the same one while it stays the same.
 *
 * @returns {Keys}
 */
function keysByContent() {
  let [known, key] = [/** @type {unknown[]} */ ([]), ""];
  return (...content) => {
    if (content.length !== known.length || content.some((part, index) => part !== known[index]))
      [known, key] = [content, randomId()];
    return key;
  };
}

/**
 * @param {HTMLFormElement} form
 * @param {Picker} picker
 * @param {number} maxBytes
 */
function whatIsMissing(form, picker, maxBytes) {
  const chooser = /** @type {HTMLElement} */ (form.querySelector("#choose"));
  const prompt = field(form, "prompt");
  if (!picker.file) return { code: "incomplete", detail: "There is no picture yet; choose one.", target: chooser };
  // Answered here, since a server that stops reading in the middle looks like one that is gone.
  if (picker.file.size > maxBytes)
    return {
      code: "too_large",
      detail: `The picture has ${size(picker.file.size)}; this server takes at most ${size(maxBytes)}.`,
      target: chooser,
    };
  if (!prompt.value.trim())
    return {
      code: "incomplete",
      detail: "Say in a few words what the picture shows, such as “a standing dog”.",
      target: prompt,
    };
  return null;
}

/**
 * @param {HTMLFormElement} form
 * @param {File} picture
 */
function fitForm(form, picture) {
  const body = new FormData();
  body.set("image", picture, "picture");
  body.set("prompt", field(form, "prompt").value.trim());
  const name = field(form, "name").value.trim();
  if (name) body.set("name", name);
  for (const name of ["subject", "preset", "crop"]) body.set(name, field(form, name).value);
  return body;
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 */
function field(form, name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
}
