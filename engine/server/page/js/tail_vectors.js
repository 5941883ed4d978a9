// @ts-check
/** A tail's five vectors as five rows of colours: all that was learned of a subject. */

/** @typedef {{rows: number, columns: number, values: Float32Array}} Vectors */

/**
 * @param {ArrayBuffer} file a tail file: an 8-byte length, a JSON header, and numbers (safetensors).
 * @returns {Vectors}
 */
export function readVectors(file) {
  const headerLength = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, headerLength)));
  const {
    shape,
    data_offsets: [start, end],
  } = header.tail;
  const values = new Float32Array(file.slice(8 + headerLength + start, 8 + headerLength + end));
  return { rows: shape[0], columns: shape[1], values };
}

/**
 * Paints a pixel for each number: one colour below zero, another above, stronger the farther from it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Vectors} vectors
 */
export function paintVectors(canvas, { rows, columns, values }) {
  canvas.width = columns;
  canvas.height = rows;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length) || 1;
  const image = new ImageData(columns, rows);
  values.forEach((value, index) => {
    const [red, green, blue] = value < 0 ? [222, 122, 60] : [24, 140, 128];
    image.data.set([red, green, blue, 255 * Math.min(1, Math.abs(value) / spread / 1.8)], index * 4);
  });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", `${rows} vectors of ${columns} numbers`);
}
