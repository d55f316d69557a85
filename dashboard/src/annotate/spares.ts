/** Suggestions that are held for later: for when the connection is lost or slow, or after a correction. */

import type { Shown } from "./session_state";

export class Spares {
  private all: Shown[] = [];

  /** More than `useful` and one that was put back are not kept. */
  constructor(private readonly useful: number) {}

  get items(): string[] {
    return this.all.map((spare) => spare.item);
  }

  take(): Shown | undefined {
    return this.all.shift();
  }

  /** What was shown a moment ago: it is the next. */
  putBack(shown: Shown): void {
    this.all.unshift(shown);
  }

  /** Keeps these before those that were there; the items that are too many. */
  keep(found: Shown[]): string[] {
    const names = new Set(found.map((one) => one.item));
    const all = [...found, ...this.all.filter((one) => !names.has(one.item))];
    this.all = all.slice(0, this.useful + 1);
    return all.slice(this.useful + 1).map((one) => one.item);
  }

  without(items: Iterable<string>): void {
    const gone = new Set(items);
    this.all = this.all.filter((spare) => !gone.has(spare.item));
  }

  /** Drops all; the items they were. */
  empty(): string[] {
    const items = this.items;
    this.all = [];
    return items;
  }
}
