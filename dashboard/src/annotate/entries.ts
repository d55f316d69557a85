/** What was said in a session, and how far each part of it has got. */

import type { Problem } from "../api/client";
import type { Outbox, Said } from "./outbox";
import type { Entry, State } from "./session_state";
import { Store } from "./store";

export abstract class Entries extends Store<State> {
  protected abstract readonly outbox: Outbox;
  /** The log's numbers of events by their ids. */
  private readonly numbers = new Map<string, number>();

  /** How many labels of ours the choice of the shown item does not know. */
  get unknown(): number {
    const seq = this.state.shown?.answer?.label_seq;
    if (seq === undefined) return 0;
    return this.state.history.filter((one) => one.state !== "refused" && (this.numbers.get(one.id) ?? Infinity) > seq).length;
  }

  protected change(entry: Entry, part: Partial<Entry>): Entry {
    const changed = { ...entry, ...part };
    this.set({ history: this.state.history.map((one) => (one.id === entry.id ? changed : one)) });
    return changed;
  }

  protected saved(said: Said, seq: number): void {
    this.numbers.set(said.event_id, seq);
    const entry = this.state.history.find((one) => one.id === said.event_id);
    if (entry !== undefined) this.change(entry, { state: "saved" });
    this.set({ unsent: this.outbox.waiting });
  }

  protected refused(said: Said, problem: Problem): void {
    const entry = this.state.history.find((one) => one.id === said.event_id);
    if (entry !== undefined) this.change(entry, { state: "refused", problem: problem.message });
    this.set({ unsent: this.outbox.waiting, notice: `Not taken for ${said.item}: ${problem.message}` });
  }

  /** Sends what was said; whether nothing waits any more. */
  protected async sent(): Promise<boolean> {
    const all = await this.outbox.flush();
    this.set({ unsent: this.outbox.waiting });
    return all;
  }
}
