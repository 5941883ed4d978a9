// @ts-check
/** A fit under way: how far it is, its loss, what it sees so far. */
import { announce } from "./announce.js";
import { cancelFit, deleteFit, request, submitFit } from "./api.js";
import { confirm } from "./dialog.js";
import { element, fromTemplate } from "./dom.js";
import { FitFollower, isOver } from "./fit_events.js";
import { LossCurve } from "./loss_curve.js";
import { showPicture } from "./pictures.js";
import { Problem, clearProblem, showProblem } from "./problem.js";
import { currentRoute, go } from "./route.js";
import { duration, queuePlace } from "./words.js";

/** @typedef {import("./library.js").Library} Library */
/** @typedef {import("./types.js").Fit} Fit */
/** @typedef {import("./types.js").View} View */

/**
 * @param {Library} library
 * @param {string} id
 * @returns {View}
 */
export function fitView(library, id) {
  const { root, part } = fromTemplate("fit");
  const curve = new LossCurve(part("fit-curve", HTMLElement));
  const problem = part("fit-problem", HTMLElement);
  const onTrouble = (/** @type {Problem | null} */ trouble) =>
    trouble ? showProblem(problem, trouble, null) : clearProblem(problem);
  const onFit = (/** @type {Fit} */ fit) => {
    showFit(part, fit);
    curve.show(fit.losses, fit.steps);
    if (isOver(fit)) finish(library, fit, problem);
  };
  let follower = new FitFollower(id, onFit, onTrouble);
  // A hidden page gives its connection back: a browser has only six for a server.
  const onVisibility = () => {
    follower.close();
    if (document.hidden) return;
    follower = new FitFollower(id, onFit, onTrouble);
    follower.follow();
  };
  document.addEventListener("visibilitychange", onVisibility);
  part("fit-remove", HTMLButtonElement).addEventListener("click", () => {
    follower.close();
    remove(library, id, problem);
  });
  part("fit-cancel", HTMLButtonElement).addEventListener("click", () =>
    cancel(id, part("fit-title", HTMLElement).textContent ?? "", problem),
  );
  follower.follow();
  return {
    element: root,
    close() {
      document.removeEventListener("visibilitychange", onVisibility);
      follower.close();
      curve.close();
    },
  };
}

/**
 * @param {ReturnType<typeof import("./dom.js").finder>} part
 * @param {Fit} fit
 */
function showFit(part, fit) {
  const { state, eta } = lines(fit);
  part("fit-title", HTMLElement).textContent = isOver(fit) ? fit.name : `Learning ${fit.name}`;
  part("fit-prompt", HTMLElement).textContent = fit.prompt;
  part("fit-state", HTMLElement).textContent = state;
  part("fit-eta", HTMLElement).textContent = eta;
  part("fit-cancel", HTMLButtonElement).hidden = isOver(fit);
  part("fit-remove", HTMLButtonElement).hidden = !isOver(fit) || fit.status === "succeeded";
  const bar = part("fit-bar", HTMLProgressElement);
  if (fit.status === "queued") bar.removeAttribute("value");
  else bar.value = fit.steps ? fit.step / fit.steps : 0;
  const source = part("fit-source", HTMLImageElement);
  source.dataset.fit = String(fit.settings.crop);
  if (fit.image) showPicture(source, fit.image);
  showPreviews(part, fit);
}

/**
 * @param {Fit} fit
 * @returns {{state: string, eta: string}}
 */
function lines(fit) {
  if (fit.status === "queued")
    return { state: fit.queue_position === null ? "queued" : queuePlace(fit.queue_position), eta: "" };
  if (fit.status === "cancelled") return { state: "cancelled", eta: "" };
  if (fit.status === "failed") return { state: `stopped at step ${fit.step}`, eta: "" };
  if (fit.status === "succeeded") return { state: "learned", eta: "" };
  if (!fit.step) return { state: "getting ready", eta: "" };
  return {
    state: `step ${fit.step} of at most ${fit.steps}`,
    eta: fit.eta_s === null ? "" : `at most ${duration(fit.eta_s)} left`,
  };
}

/**
 * @param {ReturnType<typeof import("./dom.js").finder>} part
 * @param {Fit} fit
 */
function showPreviews(part, { previews, prompt }) {
  const row = part("fit-preview-row", HTMLOListElement);
  part("fit-previews", HTMLElement).hidden = previews.length === 0;
  for (const { step, url } of previews.slice(row.children.length)) {
    const image = element("img", { alt: `${prompt}, after ${step} steps` });
    showPicture(image, url);
    row.append(element("li", {}, image, element("span", { class: "fine" }, `step ${step}`)));
    row.scrollLeft = row.scrollWidth;
  }
}

/**
 * @param {Library} library
 * @param {Fit} fit
 * @param {HTMLElement} place
 */
async function finish(library, fit, place) {
  await library.refresh();
  const here = currentRoute();
  const looking = here.view === "fit" && here.id === fit.id;
  if (fit.status === "succeeded" && fit.tail) {
    announce(`${fit.name} is learned`);
    if (looking) go("subject", fit.tail);
  } else if (looking) {
    const failure = fit.error ?? { code: "cancelled", detail: "It was cancelled before it was done." };
    showProblem(place, new Problem(failure), () => again(library, fit, place));
  }
}

/**
 * The same fit once more, from the server's own copy of the picture.
 *
 * @param {Library} library
 * @param {Fit} fit
 * @param {HTMLElement} place
 */
async function again(library, fit, place) {
  try {
    const body = new FormData();
    body.set("image", await (await request(fit.image)).blob(), "picture");
    body.set("prompt", fit.prompt);
    body.set("name", fit.name);
    for (const [name, value] of Object.entries(fit.settings)) if (value !== null) body.set(name, String(value));
    const next = await submitFit(body, `again-${fit.id}`);
    await deleteFit(fit.id);
    await library.refresh();
    go("fit", next.id);
  } catch (error) {
    showProblem(place, error, () => again(library, fit, place));
  }
}

/**
 * @param {Library} library
 * @param {string} id
 * @param {HTMLElement} place
 */
async function remove(library, id, place) {
  try {
    await deleteFit(id);
    await library.refresh();
    go("new");
  } catch (error) {
    showProblem(place, error, () => remove(library, id, place));
  }
}

/**
 * @param {string} id
 * @param {string} title
 * @param {HTMLElement} place
 */
async function cancel(id, title, place) {
  const sure = await confirm({
    title: "Cancel this fit?",
    text: `${title}: what it has learned so far is given up.`,
    yes: "Cancel the fit",
    no: "Let it learn",
    danger: true,
  });
  if (!sure) return;
  try {
    await cancelFit(id);
    announce("The fit is being cancelled");
  } catch (error) {
    showProblem(place, error, () => cancel(id, title, place));
  }
}
