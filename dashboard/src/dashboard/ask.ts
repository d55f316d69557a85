/** Answers of the service in components: kept while they are asked for anew, never asked twice at a time. */

import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api/client";

export interface Asked<T> {
  data: T | undefined;
  problem: Problem | null;
}

/** Told of refusals that a key mends. */
export const RefusedContext = createContext<(problem: Problem) => void>(() => undefined);

export function asProblem(reason: unknown): Problem {
  if (reason instanceof Problem) return reason;
  return new Problem(0, "unreachable", "The service does not answer. This page goes on trying.");
}

/**
 * The answer of `ask`, asked for again whenever `mark` changes and at most every `pause` milliseconds.
 * With another `subject` what was there is dropped. `subject` null asks nothing.
 */
export function useAsked<T>(subject: string | null, mark: unknown, ask: (before: T | undefined) => Promise<T>, pause = 0): Asked<T> {
  const [asked, setAsked] = useState<Asked<T> & { subject: string | null }>({ subject, data: undefined, problem: null });
  const refused = useContext(RefusedContext);
  const turn = useRef({ subject: null as string | null, busy: false, again: false, last: 0, data: undefined as T | undefined, gone: false });
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    const state = { subject, busy: false, again: false, last: 0, data: undefined as T | undefined, gone: false };
    turn.current = state;
    return () => {
      state.gone = true;
    };
  }, [subject]);
  useEffect(() => {
    const state = turn.current;
    if (subject === null) return;
    const run = async (): Promise<void> => {
      if (state.busy) {
        state.again = true;
        return;
      }
      state.busy = true;
      const rest = state.last + pause - performance.now();
      if (state.last > 0 && rest > 0) await new Promise((resume) => setTimeout(resume, rest));
      if (state.gone) return;
      state.again = false;
      state.last = performance.now();
      try {
        const data = await latest.current(state.data);
        state.data = data;
        if (!state.gone) setAsked({ subject, data, problem: null });
      } catch (reason) {
        const problem = asProblem(reason);
        if (state.gone) return;
        if (problem.status === 401) refused(problem);
        setAsked((now) => ({ subject, data: now.subject === subject ? now.data : undefined, problem }));
      }
      state.busy = false;
      if (state.again && !state.gone) void run();
    };
    void run();
  }, [subject, mark]);
  return asked.subject === subject ? asked : { data: undefined, problem: null };
}
