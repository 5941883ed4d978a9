// @ts-check
/** The picture that is chosen for a new subject, and the place where it is dropped and shown. */

export class Picker {
  /** @type {File | null} */
  file = null;
  #part;
  #url = "";

  /** @param {ReturnType<typeof import("./dom.js").finder>} part */
  constructor(part) {
    this.#part = part;
    const drop = part("drop", HTMLElement);
    const input = part("file", HTMLInputElement);
    drop.addEventListener("click", ({ target }) => target !== input && input.click());
    input.addEventListener("change", () => input.files?.[0] && this.take(input.files[0]));
    drop.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.takeFrom(event.dataTransfer);
    });
  }

  /** @param {DataTransfer | null} transfer */
  takeFrom(transfer) {
    const file = [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) this.take(file);
    return file !== undefined;
  }

  /** @param {File} file */
  take(file) {
    this.file = file;
    URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(file);
    const chosen = this.#part("chosen", HTMLImageElement);
    chosen.src = this.#url;
    chosen.hidden = false;
    this.#part("drop", HTMLElement).classList.add("filled");
    this.#part("choose", HTMLButtonElement).textContent = "Choose another file";
  }

  close() {
    URL.revokeObjectURL(this.#url);
  }
}
