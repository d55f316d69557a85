/** What the person at this browser chose, and their name. */

import { Store } from "./store";

export interface Settings {
  /** Keys choose classes; off for people whose speech or switch input types by accident. */
  shortcuts: boolean;
  /** Show what the model takes the item for. */
  guess: boolean;
  /** Enter says that the guess is right. */
  enterAccepts: boolean;
  /** Show the next item at once, though its choice does not know the last label. */
  atOnce: boolean;
}

const STORED = "lookahead-labeling";
const NAME = "lookahead-annotator";
const USUAL: Settings = { shortcuts: true, guess: true, enterAccepts: false, atOnce: false };

function read(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function write(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Asked again next time.
  }
}

class SettingsStore extends Store<Settings> {
  constructor() {
    super(USUAL);
    try {
      const held = JSON.parse(read(STORED) ?? "{}") as Partial<Settings>;
      for (const name of Object.keys(USUAL) as (keyof Settings)[]) {
        if (typeof held[name] === "boolean") this.state = { ...this.state, [name]: held[name] };
      }
    } catch {
      // What cannot be read is as if it were not there.
    }
  }

  change(part: Partial<Settings>): void {
    this.set(part);
    write(STORED, JSON.stringify(this.state));
  }
}

export const settings = new SettingsStore();

export const annotator = {
  get: (): string | null => read(NAME),
  set: (name: string): void => write(NAME, name),
};
