/** Questions about single things, gathered into one request for many; answers are kept. */

export interface Limits {
  /** Things per request. */
  count: number;
  /** Characters of all names of a request together, as they stand in an address. */
  characters: number;
  /** How long a first question waits for others, in milliseconds. */
  wait: number;
  /** Answers kept; the oldest go first. */
  kept: number;
}

const USUAL: Limits = { count: 200, characters: 6000, wait: 12, kept: 5000 };

interface Waiting<T> {
  name: string;
  told: (answer: T | null) => void;
  failed: (reason: unknown) => void;
}

/** Splits names into groups that fit into a request each. */
export function grouped<T extends { name: string }>(waiting: T[], limits: Pick<Limits, "count" | "characters">): T[][] {
  const groups: T[][] = [];
  let room = 0;
  for (const one of waiting) {
    const length = encodeURIComponent(one.name).length + 1;
    const last = groups.at(-1);
    if (last === undefined || last.length >= limits.count || length > room) {
      groups.push([one]);
      room = limits.characters - length;
    } else {
      last.push(one);
      room -= length;
    }
  }
  return groups;
}

/** Asks for names in batches. An answer is null where the batch had none for the name; failures are not kept. */
export class Batches<T> {
  private waiting: Waiting<T>[] = [];
  private kept = new Map<string, Promise<T | null>>();
  private readonly limits: Limits;

  constructor(
    private readonly ask: (names: string[]) => Promise<Map<string, T>>,
    limits: Partial<Limits> = {},
  ) {
    this.limits = { ...USUAL, ...limits };
  }

  get(name: string): Promise<T | null> {
    const known = this.kept.get(name);
    if (known !== undefined) return known;
    const answer = new Promise<T | null>((told, failed) => {
      if (this.waiting.length === 0) setTimeout(() => this.send(), this.limits.wait);
      this.waiting.push({ name, told, failed });
    });
    this.kept.set(name, answer);
    answer.catch(() => this.kept.delete(name));
    const oldest = this.kept.keys().next();
    if (this.kept.size > this.limits.kept && !oldest.done) this.kept.delete(oldest.value);
    return answer;
  }

  private send(): void {
    const all = this.waiting;
    this.waiting = [];
    for (const group of grouped(all, this.limits)) {
      this.ask(group.map((one) => one.name)).then(
        (answers) => group.forEach((one) => one.told(answers.get(one.name) ?? null)),
        (reason: unknown) => group.forEach((one) => one.failed(reason)),
      );
    }
  }
}
