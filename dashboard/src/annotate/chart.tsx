/** Accuracy by labels, as lines. */

import { share } from "../shared/format";
import type { Point } from "./service";

const WIDTH = 420;
const HEIGHT = 104;
const LEFT = 38;
const BOTTOM = 18;

type Of = (point: Point) => number | null | undefined;
// A new network has seen the labels before it: its accuracy on them is another matter, so there the line begins anew.
const LINES: { of: Of; kind: string; words: string; broken: boolean }[] = [
  { of: (point) => point.held_out_accuracy, kind: "second", words: "on held-out items", broken: false },
  { of: (point) => point.leave_one_out_accuracy, kind: "first", words: "on the labels", broken: true },
];

export function Chart({ points }: { points: Point[] }) {
  const first = points[0];
  const last = points.at(-1);
  const values = points.flatMap((point) => LINES.map((line) => line.of(point))).filter((value) => typeof value === "number");
  if (first === undefined || last === undefined || values.length < 2) return null;
  const low = Math.max(0, Math.floor(20 * Math.min(...values) - 0.2) / 20);
  const high = Math.min(1, Math.ceil(20 * Math.max(...values) + 0.2) / 20);
  const across = (at: number): number => LEFT + ((WIDTH - LEFT - 4) * at) / (points.length - 1);
  const up = (value: number): number => 6 + (HEIGHT - BOTTOM - 6) * (1 - (value - low) / (high - low || 1));
  const lines = LINES.map((line) => ({ ...line, path: path(points, line.of, line.broken, across, up), end: end(points, line.of) })).filter((line) => line.path !== "");
  const told = lines.map((line) => `${share(points.map(line.of).find((value) => value != null))} to ${share(line.end?.value)} ${line.words}`).join(", ");
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`Accuracy from ${first.labels} to ${last.labels} labels: ${told}`}>
        {[low, high].map((value) => (
          <g key={value}>
            <line x1={LEFT} x2={WIDTH - 4} y1={up(value)} y2={up(value)} class="rule" />
            <text x={LEFT - 5} y={up(value) + 3} text-anchor="end">{share(value)}</text>
          </g>
        ))}
        <text x={LEFT} y={HEIGHT - 3}>{first.labels}</text>
        <text x={WIDTH - 4} y={HEIGHT - 3} text-anchor="end">{last.labels} labels</text>
        {lines.map((line) => <path key={line.kind} d={line.path} class={`line ${line.kind}`} />)}
        {lines.map((line) => line.end && <circle key={line.kind} cx={across(line.end.at)} cy={up(line.end.value)} r="3" class={`end ${line.kind}`} />)}
      </svg>
      <figcaption class="small quiet">{lines.map((line) => <span key={line.kind} class={`key ${line.kind}`}>{line.words}</span>)}</figcaption>
    </figure>
  );
}

/** The last point that a line has. */
function end(points: Point[], of: Of): { at: number; value: number } | null {
  const at = points.findLastIndex((point) => of(point) != null);
  const value = points[at] === undefined ? null : of(points[at]);
  return typeof value === "number" ? { at, value } : null;
}

function path(points: Point[], of: Of, broken: boolean, across: (at: number) => number, up: (value: number) => number): string {
  let last: Point | null = null;
  return points.map((point, at) => {
    const value = of(point);
    if (typeof value !== "number") return "";
    const anew = last === null || (broken && last.checkpoint !== point.checkpoint);
    last = point;
    return `${anew ? "M" : "L"}${across(at).toFixed(1)} ${up(value).toFixed(1)}`;
  }).join("");
}
