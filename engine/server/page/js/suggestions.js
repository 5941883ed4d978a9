// @ts-check
/** Prompts worth trying, made of what the picture was said to show: one thing changed at a time. */

const POSES = ["standing", "sitting", "lying", "jumping"];
const PLACES = ["on the beach", "in the snow", "in the forest", "in the meadow", "in a room", "at night"];
const SPECIES = ["dog", "cat", "rabbit", "bear"];

/**
 * @param {string} sourcePrompt
 * @returns {string[]} at most four, all different from it.
 */
export function suggestions(sourcePrompt) {
  const source = sourcePrompt.trim().replace(/\.$/, "");
  const poses = swap(source, POSES);
  const places = swap(source, PLACES);
  if (places.length === 0) places.push(...PLACES.map((place) => `${source} ${place}`));
  const species = swap(source, SPECIES);
  const drawing = `a pencil drawing of ${source}`;
  return [poses[0], places[0], species[0] ?? places[1], drawing].filter((prompt) => prompt !== undefined);
}

/**
 * The text with the one of `words` that it has replaced by each other one, beginning with the next.
 *
 * @param {string} text
 * @param {string[]} words
 */
function swap(text, words) {
  const found = words.findIndex((word) => new RegExp(`\\b${word}\\b`).test(text));
  if (found < 0) return [];
  const others = [...words.slice(found + 1), ...words.slice(0, found)];
  return others.map((word) => text.replace(new RegExp(`\\b${words[found]}\\b`), word));
}
