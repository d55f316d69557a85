/** State that components look at, and are drawn anew for when it changes. */

import { useEffect, useState } from "preact/hooks";

export class Store<S extends object> {
  private listeners = new Set<() => void>();

  constructor(public state: S) {}

  /** Calls `told` after every change, until the function that this returns is called. */
  subscribe(told: () => void): () => void {
    this.listeners.add(told);
    return () => this.listeners.delete(told);
  }

  protected set(part: Partial<S>): void {
    this.state = { ...this.state, ...part };
    for (const told of this.listeners) told();
  }
}

export function useStore<S extends object>(store: Store<S>): S {
  const [, redraw] = useState(0);
  useEffect(() => store.subscribe(() => redraw((count) => count + 1)), [store]);
  return store.state;
}
