/** How the labels get on: accuracy, drift, arrivals. */

import * as Plot from "@observablehq/plot";
import { count, counted, share } from "../../shared/format";
import type { CurvePoint, Diagnostics } from "../types";
import { Chart } from "./chart";
import { checkpoints, coarser, floor, thinned } from "./thin";

const SHOWN = 500;
const percent = (value: number): string => `${Math.round(value * 100)} %`;
const labelAxis = { label: "labels →", tickFormat: (value: number) => (Number.isInteger(value) ? count(value) : "") };

export function LearningCurve({ points }: { points: CurvePoint[] }) {
  const shown = thinned(points, SHOWN).filter((point) => point.leave_one_out_accuracy !== null);
  const held = thinned(points, SHOWN).filter((point) => typeof point.held_out_accuracy === "number");
  const marks = checkpoints(points);
  const last = points.at(-1);
  const low = floor([...shown.map((point) => point.leave_one_out_accuracy), ...held.map((point) => point.held_out_accuracy)]);
  const summary =
    last === undefined
      ? "No points yet."
      : `After ${counted(last.labels, "label")} leave-one-out accuracy is ${share(last.leave_one_out_accuracy)}` +
        (typeof last.held_out_accuracy === "number" ? `, held-out accuracy ${share(last.held_out_accuracy)}` : "") +
        `. ${counted(marks.length, "checkpoint")} so far.`;
  return (
    <Chart
      title="Learning curve"
      summary={summary}
      note={
        <>
          Leave-one-out: each label predicted by the kernel model without it. Read it with care: a network that was trained on the same labels
          flatters it, and as the items asked for are the hard ones, it tells less than the truth about the rest.
          {held.length === 0 ? " Labels of held-out items add a second line that is free of both." : " Held-out accuracy is free of both."}
        </>
      }
      legend={[
        { words: "leave-one-out", shape: "line" },
        ...(held.length > 0 ? [{ words: "held-out", shape: "broken" as const }] : []),
        ...(marks.length > 0 ? [{ words: "a checkpoint comes into force", shape: "dashed" as const }] : []),
      ]}
      height={300}
      data={points}
      table={{
        columns: ["Labels", "Leave-one-out", "Held-out", "Changed predictions", "Checkpoint"],
        rows: points.map((point) => [
          point.labels,
          share(point.leave_one_out_accuracy),
          share(point.held_out_accuracy),
          share(point.changed_predictions),
          point.checkpoint,
        ]),
      }}
      plot={() => ({
        x: { ...labelAxis, nice: true },
        y: { label: "↑ accuracy", domain: [low, 1], tickFormat: percent, grid: true, ticks: 5 },
        marks: [
          Plot.ruleX(marks, { x: "labels", stroke: "var(--strong-line)", strokeDasharray: "3 4" }),
          Plot.text(marks, { x: "labels", frameAnchor: "top", text: (mark) => `${mark.number}`, lineAnchor: "bottom", dy: -3, fill: "var(--quiet)" }),
          Plot.line(shown, { x: "labels", y: "leave_one_out_accuracy", z: "checkpoint", stroke: "var(--accent)", strokeWidth: 2.25 }),
          Plot.line(held, { x: "labels", y: "held_out_accuracy", z: null, stroke: "var(--second)", strokeWidth: 2.25, strokeDasharray: "7 3" }),
          Plot.dot(shown.slice(-1), { x: "labels", y: "leave_one_out_accuracy", fill: "var(--accent)", r: 4 }),
          Plot.dot(held.slice(-1), { x: "labels", y: "held_out_accuracy", fill: "var(--second)", r: 4 }),
          Plot.tip(
            shown,
            Plot.pointerX({
              x: "labels",
              y: "leave_one_out_accuracy",
              title: (point: CurvePoint) => tipWords(point),
            }),
          ),
        ],
      })}
    />
  );
}

function tipWords(point: CurvePoint): string {
  const held = typeof point.held_out_accuracy === "number" ? `\nheld-out ${share(point.held_out_accuracy)}` : "";
  return `${counted(point.labels, "label")}\nleave-one-out ${share(point.leave_one_out_accuracy)}${held}`;
}

/** Past this share of changed predictions the service advises to train anew. */
const CHANGED_ADVISED = 0.3;

export function Drift({ points }: { points: CurvePoint[] }) {
  const known = thinned(points.filter((point) => point.changed_predictions !== null), SHOWN);
  const last = known.at(-1);
  const top = Math.max(CHANGED_ADVISED * 1.15, ...known.map((point) => point.changed_predictions ?? 0));
  return (
    <Chart
      title="Drift"
      summary={last === undefined ? "No points yet." : `Labels have changed ${share(last.changed_predictions)} of the network's predictions; training anew is advised from 30 %.`}
      note="Share of candidates whose predicted class is no longer the network's. Above the dashed line, train anew."
      data={points}
      table={{
        columns: ["Labels", "Changed since the checkpoint", "Changed by the last labels"],
        rows: points.map((point) => [point.labels, share(point.changed_predictions), share(point.flipped)]),
      }}
      plot={() => ({
        x: labelAxis,
        y: { label: "↑ changed", domain: [0, top], tickFormat: percent, grid: true, ticks: 4 },
        marks: [
          Plot.ruleY([CHANGED_ADVISED], { stroke: "var(--warn)", strokeDasharray: "5 4" }),
          Plot.areaY(known, { x: "labels", y1: 0, y2: "changed_predictions", z: "kernel", fill: "var(--accent)", fillOpacity: 0.14 }),
          Plot.line(known, { x: "labels", y: "changed_predictions", z: "kernel", stroke: "var(--accent)", strokeWidth: 2 }),
          Plot.ruleY([0], { stroke: "var(--strong-line)" }),
        ],
      })}
    />
  );
}

const BARS = 40;

export function Arrivals({ arrivals: told }: { arrivals: Diagnostics["arrivals"] }) {
  const arrivals = coarser(told, BARS);
  const labels = arrivals.reduce((sum, one) => sum + one.labels, 0);
  const skips = arrivals.reduce((sum, one) => sum + one.skips, 0);
  const step = bucket(arrivals);
  const bars = arrivals.flatMap((one) => {
    const from = new Date(one.at);
    const to = new Date(from.getTime() + step);
    return [
      { from, to, kind: "labels", number: one.labels },
      { from, to, kind: "skips", number: one.skips },
    ];
  });
  return (
    <Chart
      title="Label arrivals"
      summary={`${counted(labels, "label")} and ${counted(skips, "skip")} in the time shown.`}
      note="When labels came in, and skips on top of them."
      legend={[{ words: "labels", shape: "bar" }, { words: "skips", shape: "second" }]}
      data={told}
      table={{ columns: ["From", "Labels", "Skips"], rows: arrivals.map((one) => [new Date(one.at).toLocaleString(), one.labels, one.skips]) }}
      plot={() => ({
        x: { label: null, type: "time", ticks: 4 },
        y: { label: "↑ number", grid: true, ticks: 4, tickFormat: (value: number) => (Number.isInteger(value) ? count(value) : "") },
        color: { domain: ["labels", "skips"], range: ["var(--accent)", "var(--second)"] },
        marks: [
          Plot.rectY(bars, Plot.stackY({ x1: "from", x2: "to", y: "number", fill: "kind", insetRight: 1 })),
          Plot.ruleY([0], { stroke: "var(--strong-line)" }),
        ],
      })}
    />
  );
}

/** How long a bar is, in milliseconds: the shortest way from one to the next, or a minute. */
export function bucket(arrivals: { at: string }[]): number {
  const times = arrivals.map((one) => new Date(one.at).getTime()).sort((a, b) => a - b);
  const steps = times.slice(1).map((time, index) => time - times[index]!).filter((step) => step > 0);
  return steps.length > 0 ? Math.min(...steps) : 60_000;
}
