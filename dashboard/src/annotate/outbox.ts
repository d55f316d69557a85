/** What was said of items, kept until the service has it: sent in order, counted once.
 *
 * Every event has an id of its own, so that one whose answer was lost on the way may be sent again.
 */

import { ask, Problem, type Schemas } from "../api/client";

export interface Said {
  event_id: string;
  project: string;
  item: string;
  annotator: string;
  label?: string | null;
  skip?: true;
  own?: true;
}

export interface Told {
  saved: (said: Said, seq: number) => void;
  refused: (said: Said, problem: Problem) => void;
  /** Whether the service cannot be reached, now. */
  lost: (lost: boolean) => void;
  /** Nothing can be sent until there is another key. */
  unauthorised: (problem: Problem) => void;
}

type Accepted = Schemas["LabelAccepted"];
interface Kept {
  name: string;
  said: Said;
}

const PREFIX = "lookahead-unsent";
const TIMEOUT_MS = 15_000;

/** Whether the same request may succeed later. */
export function passes(reason: unknown): boolean {
  return !(reason instanceof Problem) || reason.status >= 500 || reason.status === 429 || reason.status === 408;
}

const overHttp = (said: Said): Promise<Accepted> =>
  ask<Accepted>("POST", "/label", said, {}, { signal: AbortSignal.timeout(TIMEOUT_MS) });

export class Outbox {
  private kept: Kept[];
  private sending: Promise<boolean> | null = null;
  private stamp = Date.now();

  constructor(
    private readonly project: string,
    private readonly told: Told,
    private readonly storage: Storage | null = globalThis.localStorage ?? null,
    private readonly post: (said: Said) => Promise<Accepted> = overHttp,
  ) {
    this.kept = this.before();
  }

  /** Events that the service does not have yet. */
  get waiting(): number {
    return this.kept.length;
  }

  push(said: Said): void {
    this.stamp = Math.max(this.stamp + 1, Date.now());
    const name = `${PREFIX}:${this.project}:${this.stamp}:${said.event_id}`;
    this.kept.push({ name, said });
    try {
      this.storage?.setItem(name, JSON.stringify(said));
    } catch {
      // A full or forbidden storage: it is still held here.
    }
  }

  /** Sends everything, in order; whether all of it arrived. After a failure the rest waits for the next call. */
  flush(): Promise<boolean> {
    this.sending ??= this.send().finally(() => {
      this.sending = null;
    });
    return this.sending;
  }

  private async send(): Promise<boolean> {
    for (let first = this.kept[0]; first !== undefined; first = this.kept[0]) {
      try {
        const accepted = await this.post(first.said);
        this.forget(first);
        this.told.saved(first.said, accepted.seq);
      } catch (reason) {
        if (passes(reason)) {
          this.told.lost(true);
          return false;
        }
        const problem = reason as Problem;
        if (problem.status === 401 || problem.status === 403) {
          this.told.unauthorised(problem);
          return false;
        }
        this.forget(first);
        this.told.refused(first.said, problem);
      }
      this.told.lost(false);
    }
    return true;
  }

  private forget(sent: Kept): void {
    this.kept = this.kept.filter((one) => one !== sent);
    try {
      this.storage?.removeItem(sent.name);
    } catch {
      // Sent again by a later page, it is counted once.
    }
  }

  /** What an earlier page of this browser could not send. */
  private before(): Kept[] {
    const found: Kept[] = [];
    try {
      for (let at = 0; this.storage !== null && at < this.storage.length; at += 1) {
        const name = this.storage.key(at);
        const value = name?.startsWith(`${PREFIX}:${this.project}:`) ? this.storage.getItem(name) : null;
        if (name !== null && value !== null) found.push({ name, said: JSON.parse(value) as Said });
      }
    } catch {
      return found;
    }
    return found.sort((one, other) => (one.name < other.name ? -1 : 1));
  }
}
