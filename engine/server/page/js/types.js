// @ts-check
/**
 * The shapes that the server's JSON has, as far as this page reads them.
 *
 * @typedef {{
 *   model: string, image_size: number, runtime?: string, precision?: string, solvers: string[],
 *   defaults: {guidance_scale: number, num_inference_steps: number, tail_strength: number},
 *   limits: {max_steps: number, max_body_bytes: number}, fits: boolean, no_fits: string | null, engine: boolean,
 * }} Info
 *
 * @typedef {{
 *   id: string, name: string, source_prompt: string, tail_strength: number | null, size_bytes: number,
 *   image: string | null, fit: string | null, created_at: number,
 * }} Tail
 *
 * @typedef {{type?: string, title?: string, status?: number, detail?: string, code?: string, message?: string}} Failure
 *
 * A fit in the list of all.
 * @typedef {{
 *   id: string, status: "queued" | "running" | "succeeded" | "failed" | "cancelled", name: string, prompt: string,
 *   settings: Record<string, unknown>, step: number, steps: number, loss: number | null,
 *   queue_position: number | null, eta_s: number | null, tail: string | null, image: string,
 *   error: Failure | null, created_at: number,
 * }} FitLine
 *
 * @typedef {FitLine & {losses: [number, number][], previews: {step: number, url: string}[]}} Fit
 *
 * @typedef {{
 *   prompt: string, tail: string | null, seed: number, tail_strength: number, guidance_scale: number,
 *   num_inference_steps: number, negative_prompt: string, solver: string,
 * }} EditSettings
 *
 * @typedef {{element: HTMLElement, close: () => void}} View
 */
export {};
