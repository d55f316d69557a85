import { describe, expect, it } from "vitest";
import { advice, codes, tone } from "./advice";

describe("advice", () => {
  it("goes with its sentence, and has a word for each code once", () => {
    const project = { advice_codes: ["retrain_labels", "retrain_changed", "stop"], advice: ["One.", "Two.", "Three."] } as const;
    const all = { advice_codes: [...project.advice_codes], advice: [...project.advice] };
    expect(advice(all).map(({ sentence, action }) => [sentence, action])).toEqual([["One.", "train"], ["Two.", "train"], ["Three.", null]]);
    expect(codes(all).map(({ words }) => words)).toEqual(["train anew", "labels change little"]);
    expect(codes(all).map(tone)).toEqual(["warn", "good"]);
  });
});
