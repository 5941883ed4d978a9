// @ts-check
/** A problem that belongs to no place on the page, in a dialog. */
import { confirm } from "./dialog.js";
import { Problem } from "./problem.js";

/** @param {unknown} error */
export function tellProblem(error) {
  const problem = Problem.from(error);
  return confirm({ title: problem.title, text: problem.message, yes: "Close", no: "" });
}
