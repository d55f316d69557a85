/** What the session tells those who draw it. */

import type { Problem } from "../api/client";
import type { SuggestAnswer, Suggestion } from "./service";

export interface Entry {
  id: string;
  item: string;
  /** The class, or null for a skip. */
  label: string | null;
  own: boolean;
  guess: string | null;
  state: "waiting" | "saved" | "refused";
  problem: string | null;
  undone: boolean;
}

export interface Shown {
  item: string;
  suggestion: Suggestion | null;
  answer: SuggestAnswer | null;
  /** What was said of it before, where it was called back. */
  entry: Entry | null;
}

export interface State {
  shown: Shown | null;
  /** The next item is on its way: keys wait for it. */
  busy: boolean;
  /** Why there is nothing to show: a reason of the service's. */
  ended: string | null;
  lost: boolean;
  unsent: number;
  problem: Problem | null;
  notice: string | null;
  said: string;
  /** Newest first. */
  history: Entry[];
}

export const FIRST: State = {
  shown: null, busy: true, ended: null, lost: false, unsent: 0, problem: null, notice: null, said: "", history: [],
};

/** Whether a refusal says that the project is not there, or not any more. */
export const gone = (problem: Problem | null): boolean => problem?.code === "unknown_project";

/** After a refusal that will not pass: of a project that is gone nothing is shown as if it could be labeled. */
export function halted(problem: Problem): Partial<State> {
  return { problem, busy: false, lost: false, ...(gone(problem) ? { shown: null, ended: null } : {}) };
}
