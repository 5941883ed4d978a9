// @ts-check
/** The server's pictures as blobs: an <img> could not send the key. */
import { request } from "./api.js";

/** @type {Map<string, Promise<string>>} */
const urls = new Map();

/**
 * @param {string} path
 * @returns {Promise<string>} a URL that an <img> takes, the same one each time.
 */
export function pictureUrl(path) {
  const known = urls.get(path);
  if (known) return known;
  const url = load(path);
  urls.set(path, url);
  url.catch(() => urls.delete(path));
  return url;
}

/**
 * Shows a picture of the server's once it is there; one that is not stays hidden.
 *
 * @param {HTMLImageElement} image
 * @param {string} path
 */
export function showPicture(image, path) {
  if (image.dataset.path === path) return;
  image.dataset.path = path;
  pictureUrl(path).then(
    (url) => {
      if (image.dataset.path === path) image.src = url;
    },
    () => delete image.dataset.path,
  );
}

/** @param {string} path */
async function load(path) {
  return URL.createObjectURL(await (await request(path)).blob());
}
