/** Which key stands for which class, and how classes are found by typing where there are too many for that. */

/** Up to so many classes have a key each. */
export const KEYED = 12;
const NUMBERS = [..."1234567890"];
/** `s` skips and `u` undoes. */
const LETTERS = [..."abcdefghijklmnopqrtvwxyz"];

/** One key per class, or null where there are too many. A class whose name is a single key has that key. */
export function keysFor(classes: string[]): string[] | null {
  if (classes.length > KEYED) return null;
  const all = [...NUMBERS, ...LETTERS];
  const own = classes.map((name) => (all.includes(name.toLowerCase()) ? name.toLowerCase() : null));
  // Two names that differ in case only: the first has the key.
  const first = own.map((key, index) => (key !== null && own.indexOf(key) === index ? key : null));
  const free = all.filter((key) => !first.includes(key));
  return first.map((key) => key ?? free.shift() ?? "");
}

/** Indices of the classes that fit what was typed: those that begin so first, then those with a word that does. */
export function matching(classes: string[], typed: string): number[] {
  const wanted = typed.trim().toLowerCase();
  const rank = (name: string): number => {
    const lower = name.toLowerCase();
    if (wanted === "" || lower === wanted) return 0;
    if (lower.startsWith(wanted)) return 1;
    if (lower.split(/[^\p{L}\p{N}]+/u).some((word) => word.startsWith(wanted))) return 2;
    return lower.includes(wanted) ? 3 : 4;
  };
  return classes
    .map((name, index) => ({ index, rank: rank(name) }))
    .filter((one) => one.rank < 4)
    .sort((one, other) => one.rank - other.rank || one.index - other.index)
    .map((one) => one.index);
}

/** Whether digits choose among the classes shown, or are typed because names have some. */
export const digitsChoose = (classes: string[]): boolean => !classes.some((name) => /\d/.test(name));

/** What a key press means. `typing` is what was typed so far where classes are found by typing, else null. */
export type Meaning =
  | { does: "class"; index: number }
  | { does: "skip"; own: boolean }
  | { does: "undo" | "help" | "accept" | "back" }
  | { does: "type"; typed: string }
  | null;

export interface Press {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

export function meaning(press: Press, classes: string[], typed: string): Meaning {
  const { key } = press;
  if ((press.ctrlKey || press.metaKey) && !press.altKey && !press.shiftKey && key.toLowerCase() === "z") return { does: "undo" };
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  if (key === "?") return { does: "help" };
  if (key === "Escape") return typed === "" ? { does: "back" } : { does: "type", typed: "" };
  const keys = keysFor(classes);
  return keys === null ? byTyping(key, classes, typed) : byKey(key, keys);
}

function byKey(key: string, keys: string[]): Meaning {
  if (key === "Enter") return { does: "accept" };
  if (key === "s" || key === "S") return { does: "skip", own: key === "s" };
  if (key.toLowerCase() === "u") return { does: "undo" };
  const index = keys.indexOf(key.toLowerCase());
  return index < 0 ? null : { does: "class", index };
}

function byTyping(key: string, classes: string[], typed: string): Meaning {
  const found = matching(classes, typed);
  if (key === "Enter") {
    if (typed.trim() === "") return { does: "accept" };
    return found[0] === undefined ? null : { does: "class", index: found[0] };
  }
  if (key === "Backspace") return typed === "" ? null : { does: "type", typed: [...typed].slice(0, -1).join("") };
  if (typed === "" && (key === "-" || key === "_")) return { does: "skip", own: key === "-" };
  if ([...key].length !== 1 || (key === " " && typed === "")) return null;
  if (digitsChoose(classes) && /\d/.test(key)) {
    const index = found[NUMBERS.indexOf(key)];
    return index === undefined ? null : { does: "class", index };
  }
  return { does: "type", typed: typed + key };
}
