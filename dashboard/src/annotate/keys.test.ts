import { expect, test } from "vitest";
import { KEYED, keysFor, matching, meaning } from "./keys";

const press = (key: string, more = {}) => ({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...more });
const many = ["apple", "grape", "dragon fruit", ...Array.from({ length: KEYED }, (_, at) => `kind ${"abcdefghijklmnop"[at]}x`)];

test("classes have the numbers first, then letters that mean nothing else", () => {
  expect(keysFor(["cat", "dog", "owl"])).toEqual(["1", "2", "3"]);
  const twelve = keysFor(Array.from({ length: KEYED }, (_, at) => `class ${at}`));
  expect(twelve).toEqual([..."1234567890", "a", "b"]);
  expect(keysFor(many)).toBeNull();
});

test("a class that is named like a key has it, and no other class has", () => {
  expect(keysFor([..."0123456789"])).toEqual([..."0123456789"]);
  expect(keysFor(["other", "1", "B", "b"])).toEqual(["2", "1", "b", "3"]);
});

test("keys say classes, skip and undo", () => {
  expect(meaning(press("2"), ["cat", "dog"], "")).toEqual({ does: "class", index: 1 });
  expect(meaning(press("3"), ["cat", "dog"], "")).toBeNull();
  expect(meaning(press("s"), ["cat", "dog"], "")).toEqual({ does: "skip", own: true });
  expect(meaning(press("S", { shiftKey: true }), ["cat", "dog"], "")).toEqual({ does: "skip", own: false });
  expect(meaning(press("u"), ["cat", "dog"], "")).toEqual({ does: "undo" });
  expect(meaning(press("z", { ctrlKey: true }), ["cat", "dog"], "")).toEqual({ does: "undo" });
  expect(meaning(press("1", { ctrlKey: true }), ["cat", "dog"], "")).toBeNull(); // the browser's own
});

test("many classes are found by typing, the nearest first", () => {
  expect(matching(many, "fr").map((at) => many[at])).toEqual(["dragon fruit"]);
  expect(matching(many, "ap").map((at) => many[at])).toEqual(["apple", "grape"]);
  expect(meaning(press("s"), many, "")).toEqual({ does: "type", typed: "s" });
  expect(meaning(press("Enter"), many, "gra")).toEqual({ does: "class", index: 1 });
  expect(meaning(press("Enter"), many, "zzz")).toBeNull();
  expect(meaning(press("2"), many, "ap")).toEqual({ does: "class", index: 1 });
  expect(meaning(press("-"), many, "")).toEqual({ does: "skip", own: true });
  expect(meaning(press("Escape"), many, "ap")).toEqual({ does: "type", typed: "" });
});
