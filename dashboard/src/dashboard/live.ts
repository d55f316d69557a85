/** What the service tells by itself: jobs, projects that moved, workers. One stream for the whole page. */

import { createContext } from "preact";
import { useContext, useEffect, useReducer } from "preact/hooks";
import { listen, type Connection } from "../api/events";
import type { Job, Mark, Workers } from "./types";

export interface Live {
  connection: Connection;
  jobs: Record<string, Job>;
  marks: Record<string, Mark>;
  workers: Workers | null;
  /** Counts the occasions to ask for everything anew: a stream that came back, and the clock while there is none. */
  round: number;
  /** What to say to those who hear the page. */
  said: string;
}

export type Told =
  | { kind: "connection"; state: Connection }
  | { kind: "tick" }
  | { kind: "job"; job: Job }
  | { kind: "project"; mark: Mark }
  | { kind: "workers"; workers: Workers };

export const NOTHING: Live = { connection: "connecting", jobs: {}, marks: {}, workers: null, round: 0, said: "" };

const KEPT_JOBS = 300;
const OVER = new Set(["succeeded", "failed", "cancelled"]);
export const LONG: readonly Job["kind"][] = ["prepare", "train"];

export const over = (job: Job): boolean => OVER.has(job.status);

/** Whether a job is work that people wait for, and not the answer to one request. */
export const long = (job: Job): boolean => LONG.includes(job.kind);

export function reduce(live: Live, told: Told): Live {
  switch (told.kind) {
    case "connection": {
      const back = told.state === "live" && live.connection !== "live";
      return { ...live, connection: told.state, round: live.round + (back && live.connection !== "connecting" ? 1 : 0) };
    }
    case "tick":
      return live.connection === "live" ? live : { ...live, round: live.round + 1 };
    case "job":
      return { ...live, jobs: kept({ ...live.jobs, [told.job.id]: told.job }), said: announced(live.jobs[told.job.id], told.job) ?? live.said };
    case "project":
      return { ...live, marks: { ...live.marks, [told.mark.project]: told.mark } };
    case "workers":
      return { ...live, workers: told.workers };
  }
}

/** A sentence when long work ends, and only then: progress is for those who look. */
export function announced(before: Job | undefined, now: Job): string | null {
  if (!long(now) || !over(now) || before === undefined || over(before)) return null;
  return `${kindWords(now.kind)} for ${now.project} ${now.status === "succeeded" ? "is done" : `has ${now.status === "failed" ? "failed" : "been cancelled"}`}.`;
}

export function kindWords(kind: string): string {
  const words: Record<string, string> = { prepare: "Preparation", train: "Training", suggest: "Suggestion", predict: "Predictions", score: "Scores", label_studio: "Label Studio" };
  return words[kind] ?? kind;
}

function kept(jobs: Record<string, Job>): Record<string, Job> {
  const ids = Object.keys(jobs);
  if (ids.length <= KEPT_JOBS) return jobs;
  const old = ids.filter((id) => over(jobs[id]!)).sort((a, b) => (jobs[a]!.created_at < jobs[b]!.created_at ? -1 : 1));
  const gone = new Set(old.slice(0, ids.length - KEPT_JOBS));
  return Object.fromEntries(Object.entries(jobs).filter(([id]) => !gone.has(id)));
}

/** An event of the stream as something told; null for what this page does not know. */
export function understood(name: string, data: unknown): Told | null {
  if (data === null || typeof data !== "object") return null;
  if (name === "job") return { kind: "job", job: data as Job };
  if (name === "project") return { kind: "project", mark: data as Mark };
  if (name === "workers") return { kind: "workers", workers: data as Workers };
  return null;
}

const TICK_MS = 10_000;

/** Listens for as long as the page is open; `again` changes when a new key was given. */
export function useStream(again: number): Live {
  const [live, tell] = useReducer(reduce, NOTHING);
  useEffect(() => {
    const stop = new AbortController();
    tell({ kind: "connection", state: "connecting" });
    void listen(
      "/events",
      (name, data) => {
        const told = understood(name, data);
        if (told !== null) tell(told);
      },
      stop.signal,
      (state) => tell({ kind: "connection", state }),
    );
    const timer = setInterval(() => document.visibilityState === "visible" && tell({ kind: "tick" }), TICK_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [again]);
  return live;
}

export const LiveContext = createContext<Live>(NOTHING);
export const useLive = (): Live => useContext(LiveContext);
