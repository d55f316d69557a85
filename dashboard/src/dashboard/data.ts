/** What the pages ask for. */

import { ask, get, Problem } from "../api/client";
import { listen } from "../api/events";
import { useAsked, type Asked } from "./ask";
import { LONG, over, type Live } from "./live";
import type { CurvePoint, Diagnostics, Job, Project, SuggestAnswer, Workers } from "./types";

const path = (name: string): string => `/projects/${encodeURIComponent(name)}`;
const PAGE = 1000;
const POINTS_MAX = 10_000;
export const SUGGESTIONS = 12;

/** Moves whenever anything of a project did. */
function stirred(live: Live, name: string): string {
  return `${live.round} ${JSON.stringify(live.marks[name] ?? null)} ${ended(live, name)}`;
}

const ended = (live: Live, name: string): number => Object.values(live.jobs).filter((job) => job.project === name && job.kind !== "suggest" && over(job)).length;

export function useProjects(live: Live): Asked<Project[]> {
  return useAsked("projects", `${live.round} ${JSON.stringify(live.marks)}`, allProjects, 1000);
}

async function allProjects(): Promise<Project[]> {
  const found: Project[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: { projects: Project[]; next: string | null } = await get(`/projects?limit=200&after=${encodeURIComponent(after)}`);
    found.push(...page.projects);
    after = page.next;
  }
  return found;
}

export function useProject(live: Live, name: string): Asked<Project> {
  return useAsked(name, stirred(live, name), () => get<Project>(path(name)), 300);
}

/** The points that are new come after those there are; a point may be added to the last label of before. */
export function joined(before: CurvePoint[], more: CurvePoint[], from: number): CurvePoint[] {
  return [...before.filter((point) => point.label_seq <= from), ...more];
}

export function useCurve(project: Project | undefined): Asked<CurvePoint[]> {
  const mark = project === undefined ? "" : `${project.kernel_state?.id} ${project.kernel_state?.applied_seq} ${project.held_out_accuracy}`;
  return useAsked(project?.name ?? null, mark, (before) => curve(project!.name, before ?? []), 500);
}

async function curve(name: string, before: CurvePoint[]): Promise<CurvePoint[]> {
  const from = before.length > 0 ? before.at(-1)!.label_seq - 1 : -1;
  const more: CurvePoint[] = [];
  for (let after: number | null = from; after !== null && more.length < POINTS_MAX; ) {
    const page: { points: CurvePoint[]; next: number | null } = await get(`${path(name)}/curve?limit=${PAGE}&after_seq=${after}`);
    more.push(...page.points);
    after = page.next;
  }
  return joined(before, more, from);
}

/** `scored` is the last label that suggestions shown here know: a new look brings new scores. */
export function useDiagnostics(project: Project | undefined, scored: number): Asked<Diagnostics> {
  const mark = project === undefined ? "" : `${project.label_seq} ${project.kernel_state?.id} ${project.kernel_state?.applied_seq} ${project.items} ${project.held_out_accuracy} ${scored}`;
  return useAsked(project?.name ?? null, mark, () => get<Diagnostics>(`${path(project!.name)}/diagnostics`), 2000);
}

/** What would be suggested now: a peek, that takes no item from anybody. Asked again once labels have moved it. */
export function useSuggestions(project: Project | undefined): Asked<SuggestAnswer> {
  const ready = project !== undefined && project.unlabeled > 0 && (project.kernel_state !== null || project.defaults.strategy === "random");
  const mark = project === undefined ? "" : `${project.label_seq} ${project.kernel_state?.id} ${project.pool_version}`;
  return useAsked(ready ? project.name : null, mark, () => peek(project!.name), 2500);
}

async function peek(project: string): Promise<SuggestAnswer> {
  const body = { project, count: SUGGESTIONS, lease_seconds: 0 };
  const answer = await ask<SuggestAnswer | Job>("POST", "/suggest", body, { Prefer: "wait=20" });
  return "suggestions" in answer ? answer : ((await finished(answer)).result as unknown as SuggestAnswer);
}

/** The job as it ended. Throws Problem where it did not succeed. */
async function finished(job: Job): Promise<Job> {
  let last = job;
  const stop = new AbortController();
  await listen(
    `/jobs/${job.id}/events`,
    (_, data) => {
      last = data as Job;
      if (over(last)) stop.abort();
    },
    stop.signal,
    (state) => (state === "missing" || state === "refused") && stop.abort(),
  );
  if (last.status !== "succeeded") throw new Problem(500, last.error?.code ?? last.status, last.error?.detail ?? "The request was cancelled.");
  return last.result ? last : get<Job>(`/jobs/${job.id}`);
}

/** The newest jobs; answers to single requests only with `all`: there are so many that they hide the others. */
export function useJobs(live: Live, project: string | null, all = false): Asked<Job[]> {
  const where = (project === null ? "" : `&project=${encodeURIComponent(project)}`) + (all ? "" : LONG.map((kind) => `&kind=${kind}`).join(""));
  const found = useAsked(where, live.round, async () => (await get<{ jobs: Job[] }>(`/jobs?limit=200${where}`)).jobs, 1000);
  return { problem: found.problem, data: found.data && merged(found.data, live, project) };
}

/** Jobs that were asked for with those that the stream told of, newest first. */
export function merged(asked: Job[], live: Pick<Live, "jobs" | "connection">, project: string | null): Job[] {
  const all = new Map(asked.map((job) => [job.id, job]));
  for (const told of Object.values(live.jobs)) {
    if (project !== null && told.project !== project) continue;
    const known = all.get(told.id);
    if (known === undefined || (!over(known) && (over(told) || live.connection === "live"))) all.set(told.id, told);
  }
  return [...all.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
}

export function useWorkers(live: Live): Asked<Workers> {
  const asked = useAsked("workers", live.round, () => get<Workers>("/workers"), 1000);
  return live.connection === "live" && live.workers !== null ? { data: live.workers, problem: null } : asked;
}

export interface Activity {
  points: CurvePoint[];
  last: string | null;
}

const RECENT = 120;

/** The end of a project's curve, and when it was labeled last. */
export function useActivity(project: Project): Asked<Activity> {
  return useAsked(project.name, `${project.label_seq} ${project.kernel_state?.applied_seq}`, () => activity(project), 3000);
}

async function activity({ name, label_seq, created_at }: Project): Promise<Activity> {
  const since = Math.max(-1, label_seq - RECENT);
  const [curve, log] = await Promise.all([
    get<{ points: CurvePoint[] }>(`${path(name)}/curve?limit=${RECENT * 2}&after_seq=${since}`),
    get<{ labels: { created_at: string }[] }>(`/labels?project=${encodeURIComponent(name)}&after_seq=${Math.max(0, label_seq - 1)}&limit=1`),
  ]);
  return { points: curve.points, last: log.labels.at(-1)?.created_at ?? created_at };
}
