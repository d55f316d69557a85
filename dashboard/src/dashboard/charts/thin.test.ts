import { describe, expect, it } from "vitest";
import type { CurvePoint } from "../types";
import { range } from "./latency_chart";
import { bucket } from "./progress_charts";
import { balance, checkpoints, coarser, decades, floor, thinned } from "./thin";

describe("thinned", () => {
  it("keeps the ends, and no more than asked", () => {
    const points = Array.from({ length: 1001 }, (_, index) => index);
    const few = thinned(points, 11);
    expect(few).toEqual([0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
    expect(thinned(few, 11)).toBe(few);
  });
});

describe("checkpoints", () => {
  it("marks where each came into force", () => {
    const points = [["a", 1], ["a", 2], ["b", 2], ["b", 5], ["a", 6]].map(([checkpoint, labels]) => ({ checkpoint, labels }) as CurvePoint);
    expect(checkpoints(points).map((mark) => `${mark.number}:${mark.checkpoint}@${mark.labels}`)).toEqual(["1:a@1", "2:b@2", "3:a@6"]);
  });
});

describe("scales", () => {
  it.each([[[], 0], [[null, undefined], 0], [[0.9, 1], 0.5], [[0.42, 0.9], 0.3], [[0.02], 0]])("of shares %j begin at %s", (values, low) => {
    expect(floor(values)).toBeCloseTo(low as number);
  });
  it("of powers of ten have few marks, all within", () => {
    expect(decades([0.5, 30, 2000])).toEqual([1, 10, 100, 1000]);
    expect(decades([1, 1000])).toEqual([1, 10, 100, 1000]);
    expect(decades([1e-12, 1e6]).length).toBeLessThanOrEqual(7);
    expect(decades([2, 3])).toEqual([]);
    expect(decades([0, -1])).toEqual([]);
  });
  it("of times go from round to round", () => {
    expect(range([])).toEqual([0.001, 1]);
    expect(range([{ p50: 0.02, p99: 0.3 }, { p50: 0.2, p99: 40 }])).toEqual([0.01, 60]);
    expect(range([{ p50: 1, p99: 1 }])).toEqual([1, 10]);
    expect(range([{ p50: 0.0002, p99: 90_000 }])).toEqual([0.0002, 90_000]);
  });
});

describe("balance", () => {
  it("tells shares among labels and among predictions", () => {
    expect(balance([{ class: "a", labels: 3, predicted: 10 }, { class: "b", labels: 1, predicted: 30 }])).toEqual([
      { name: "a", labels: 3, labeled: 0.75, predicted: 0.25 },
      { name: "b", labels: 1, labeled: 0.25, predicted: 0.75 },
    ]);
  });
  it("divides nothing by nothing", () => {
    expect(balance([{ class: "a", labels: 0, predicted: null }])).toEqual([{ name: "a", labels: 0, labeled: 0, predicted: null }]);
  });
});

describe("coarser", () => {
  it("puts neighbours together and loses nothing", () => {
    const spans = [1, 2, 3, 4, 5].map((labels) => ({ at: `at ${labels}`, labels, skips: 1 }));
    expect(coarser(spans, 2)).toEqual([{ at: "at 1", labels: 6, skips: 3 }, { at: "at 4", labels: 9, skips: 2 }]);
    expect(coarser(spans, 5)).toBe(spans);
    expect(coarser([], 5)).toEqual([]);
  });
});

describe("bucket", () => {
  it("is the shortest way between two bars", () => {
    expect(bucket([{ at: "2026-01-01T00:02:00Z" }, { at: "2026-01-01T00:00:00Z" }, { at: "2026-01-01T00:00:30Z" }])).toBe(30_000);
    expect(bucket([{ at: "2026-01-01T00:02:00Z" }])).toBe(60_000);
  });
});
