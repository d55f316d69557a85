/** Fewer points where a screen shows no more, and the marks between them. */

import type { CurvePoint } from "../types";

/** At most `most` of the points, evenly; the first and the last stay. */
export function thinned<T>(points: T[], most: number): T[] {
  if (points.length <= most) return points;
  const step = (points.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, index) => points[Math.round(index * step)]!);
}

export interface CheckpointMark {
  checkpoint: string;
  labels: number;
  number: number;
}

/** Where on the curve each checkpoint came into force, in order. */
export function checkpoints(points: CurvePoint[]): CheckpointMark[] {
  const marks: CheckpointMark[] = [];
  for (const point of points) {
    if (marks.at(-1)?.checkpoint === point.checkpoint) continue;
    marks.push({ checkpoint: point.checkpoint, labels: point.labels, number: marks.length + 1 });
  }
  return marks;
}

/** The lowest value that an axis of shares has to reach down to, in steps of a tenth; never above 0.5. */
export function floor(values: (number | null | undefined)[]): number {
  const known = values.filter((value): value is number => typeof value === "number");
  return known.length === 0 ? 0 : Math.max(0, Math.min(0.5, Math.floor(Math.min(...known) * 10 - 0.5) / 10));
}

export interface Balance {
  name: string;
  labels: number;
  /** Share of all labels. */
  labeled: number;
  /** Share of all predictions; null without predictions. */
  predicted: number | null;
}

/** Classes with their shares among labels and among predictions. `predicted` may be counts or shares. */
export function balance(classes: { class: string; labels: number; predicted: number | null }[]): Balance[] {
  const labels = classes.reduce((sum, one) => sum + one.labels, 0) || 1;
  const predictions = classes.reduce((sum, one) => sum + (one.predicted ?? 0), 0);
  return classes.map((one) => ({
    name: one.class,
    labels: one.labels,
    labeled: one.labels / labels,
    predicted: one.predicted === null || predictions === 0 ? null : one.predicted / predictions,
  }));
}

/** The powers of ten from just below the smallest to just above the largest value, at most seven of them. */
export function decades(values: number[]): number[] {
  const known = values.filter((value) => value > 0 && Number.isFinite(value));
  if (known.length === 0) return [];
  const low = Math.ceil(Math.log10(Math.min(...known)) - 1e-9);
  const high = Math.floor(Math.log10(Math.max(...known)) + 1e-9);
  const step = Math.max(1, Math.ceil((high - low) / 6));
  return Array.from({ length: Math.max(0, Math.floor((high - low) / step) + 1) }, (_, index) => 10 ** (low + index * step));
}

interface Arrived {
  at: string;
  labels: number;
  skips: number;
}

/** Neighbouring spans of time put together, so that at most so many are left. */
export function coarser(spans: Arrived[], most: number): Arrived[] {
  const size = Math.ceil(spans.length / most);
  if (size <= 1) return spans;
  return Array.from({ length: Math.ceil(spans.length / size) }, (_, index) => {
    const group = spans.slice(index * size, (index + 1) * size);
    const sum = (of: "labels" | "skips"): number => group.reduce((all, one) => all + one[of], 0);
    return { at: group[0]!.at, labels: sum("labels"), skips: sum("skips") };
  });
}
