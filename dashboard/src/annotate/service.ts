/** What this page asks the service, beyond single requests. */

import { ask, get, Problem, type Schemas } from "../api/client";

export type Project = Schemas["Project"] & { held_out_accuracy?: number | null };
export type Point = Schemas["CurvePoint"] & { held_out_accuracy?: number | null };
export type Job = Schemas["Job"];
export type Suggestion = Schemas["Suggestion"];
export type SuggestAnswer = Schemas["SuggestAnswer"];

const WAIT_SECONDS = 10;
const POLL_MS = 400;
const SAMPLE_PARTS = 8;

export const pause = (milliseconds: number): Promise<void> => new Promise((resume) => setTimeout(resume, milliseconds));
export const pathOf = (project: string, rest = ""): string => `/projects/${encodeURIComponent(project)}${rest}`;

/** Ids as one value of a query, whatever characters they have. */
export const listed = (items: string[]): string =>
  encodeURIComponent(items.map((item) => (/[",\r\n]/.test(item) ? `"${item.replaceAll('"', '""')}"` : item)).join(","));

/** An answer, or the result of the job that is still making it. Throws Problem. */
async function result<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers = { Prefer: `wait=${WAIT_SECONDS}` };
  const signal = AbortSignal.timeout((WAIT_SECONDS + 10) * 1000);
  let answer = await ask<T | Job>(method, path, body, headers, { signal });
  while (isJob(answer)) {
    if (answer.status === "succeeded") return answer.result as T;
    if (answer.finished_at !== null) {
      throw new Problem(500, answer.error?.code ?? answer.status, answer.error?.detail ?? `the job was ${answer.status}`);
    }
    await pause(POLL_MS);
    answer = await get<Job>(`/jobs/${answer.id}`);
  }
  return answer;
}

function isJob(answer: unknown): answer is Job {
  return typeof answer === "object" && answer !== null && "kind" in answer && "status" in answer;
}

export interface Wanted {
  project: string;
  annotator: string;
  count: number;
  lease_seconds: number;
  exclude?: string[];
  strategy?: "random";
}

export const suggest = (wanted: Wanted): Promise<SuggestAnswer> => result<SuggestAnswer>("POST", "/suggest", wanted);

export const predictions = (project: string, items: string[]): Promise<Schemas["PredictionsAnswer"]> =>
  result<Schemas["PredictionsAnswer"]>("GET", pathOf(project, `/predictions?items=${listed(items)}`));

/** Unlabeled items from all over the pool. */
export async function sample(project: Project, size: number): Promise<string[]> {
  const parts = Array.from({ length: SAMPLE_PARTS }, (_, part) => Math.floor((part * project.items) / SAMPLE_PARTS) - 1);
  const pages = await Promise.all(
    parts.map((after) =>
      get<Schemas["ItemPage"]>(pathOf(project.name, `/items?state=unlabeled&limit=${size}&after=${after}`)),
    ),
  );
  // In turn from each part: some have few unlabeled items, or none.
  const turns = Array.from({ length: size }, (_, turn) => pages.map((page) => page.items[turn]?.item));
  return [...new Set(turns.flat().filter((item) => item !== undefined))].slice(0, size);
}

/** Gives items back, even while the page is being left. */
export function release(project: string, annotator: string, items?: string[]): void {
  const body = { project, annotator, ...(items === undefined ? {} : { items }) };
  ask("POST", "/leases/release", body, {}, { keepalive: true }).catch(() => undefined);
}

/** Holds on to items; those that are somebody else's by now. Throws Problem. */
export async function renew(project: string, annotator: string, items: string[], seconds: number): Promise<string[]> {
  const body = { project, annotator, items, lease_seconds: seconds };
  return (await ask<Schemas["LeasesRenewed"]>("POST", "/leases/renew", body)).expired;
}
