/** Accuracy by labels, as lines. */

import { share } from "../shared/format";
import type { Point } from "./service";

const WIDTH = 420;
const HEIGHT = 104;
const LEFT = 38;
const BOTTOM = 18;

type Of = (point: Point) => number | null | undefined;
const LINES: { of: Of; kind: string; words: string }[] = [
  { of: (point) => point.held_out_accuracy, kind: "second", words: "on held-out items" },
  { of: (point) => point.leave_one_out_accuracy, kind: "first", words: "on the labels" },
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
  const lines = LINES.map((line) => ({ ...line, path: path(points, line.of, across, up), end: end(points, line.of) })).filter((line) => line.path !== "");
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

function path(points: Point[], of: Of, across: (at: number) => number, up: (value: number) => number): string {
  const steps = points.map((point, at) => ({ at, value: of(point) })).filter((one) => typeof one.value === "number");
  return steps.map(({ at, value }, place) => `${place === 0 ? "M" : "L"}${across(at).toFixed(1)} ${up(value as number).toFixed(1)}`).join("");
}
