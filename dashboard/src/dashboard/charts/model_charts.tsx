/** What the kernel model is like: balance of classes, scores, spectrum. */

import * as Plot from "@observablehq/plot";
import { count, counted, figure, share, short } from "../../shared/format";
import type { Diagnostics, Scores, Suggestion } from "../types";
import { Chart } from "./chart";
import { balance, decades, type Balance } from "./thin";

const percent = (value: number): string => `${Math.round(value * 100)} %`;
const CLASSES_SHOWN = 20;

export function ClassBalance({ classes }: { classes: Diagnostics["classes"] }) {
  const all = balance(classes);
  const shown = [...all].sort((a, b) => weight(b) - weight(a)).slice(0, CLASSES_SHOWN);
  const order = all.filter((one) => shown.includes(one));
  const without = all.filter((one) => one.labels === 0).length;
  const predicted = order.filter((one): one is Balance & { predicted: number } => one.predicted !== null);
  const row = order.length > 12 ? 20 : 25;
  return (
    <Chart
      title="Class balance"
      summary={`${counted(all.length, "class", "classes")}, ${without === 0 ? "each with labels" : `${without} without a label`}. Shares are in the table.`}
      note={`Shares among labels, against shares among predictions.${all.length > shown.length ? ` The ${shown.length} largest of ${all.length}.` : ""}`}
      legend={[{ words: "labels", shape: "bar" }, ...(predicted.length > 0 ? [{ words: "predictions", shape: "tick" as const }] : [])]}
      height={order.length * row + 66}
      fixed
      data={classes}
      table={{
        columns: ["Class", "Labels", "Of all labels", "Of all predictions"],
        rows: all.map((one) => [one.name, one.labels, share(one.labeled), share(one.predicted)]),
      }}
      plot={(width) => ({
        marginLeft: Math.min(width / 3, 18 + 7 * Math.max(2, ...order.map((one) => Math.min(14, one.name.length)))),
        x: { label: null, domain: [0, Math.max(0.02, ...order.map(weight))], tickFormat: percent, grid: true, ticks: 4, nice: true },
        y: { label: null, domain: order.map((one) => one.name), tickFormat: (name: string) => short(name, 14), tickSize: 0 },
        marks: [
          Plot.barX(order, { y: "name", x: "labeled", fill: "var(--accent)", fillOpacity: 0.75, insetTop: 2, insetBottom: 2, rx2: 3 }),
          Plot.tickX(predicted, { y: "name", x: "predicted", stroke: "var(--second)", strokeWidth: 3 }),
          Plot.ruleX([0], { stroke: "var(--strong-line)" }),
        ],
      })}
    />
  );
}

const weight = (one: Balance): number => Math.max(one.labeled, one.predicted ?? 0);

export function ScoreDistribution({ scores, suggestions }: { scores: Scores; suggestions: Suggestion[] }) {
  const bars = scores.counts.map((number, index) => ({ from: scores.edges[index]!, to: scores.edges[index + 1]!, number }));
  const marked = suggestions.filter((one) => one.picked_by !== "random");
  return (
    <Chart
      title="Scores of all candidates"
      summary={`Scores by ${scores.strategy}, from ${figure(scores.smallest)} to ${figure(scores.largest)}, median ${figure(scores.median)}.`}
      note={`By ${scores.strategy}, as of label ${count(scores.label_seq)}; the further right, the more useful. A batch is chosen one by one, each item for what the others leave, so later ones may stand further left.`}
      legend={[{ words: "candidates", shape: "bar" }, { words: "suggested", shape: "tick" }]}
      data={[scores, suggestions]}
      table={{ columns: ["From", "To", "Candidates"], rows: bars.map((bar) => [figure(bar.from), figure(bar.to), bar.number]) }}
      plot={() => ({
        x: { label: "score →", ticks: 5, tickFormat: figure },
        y: { label: "↑ candidates", grid: true, ticks: 4, type: "sqrt", tickFormat: (value: number) => (Number.isInteger(value) ? count(value) : "") },
        marks: [
          Plot.rectY(bars, { x1: "from", x2: "to", y: "number", fill: "var(--accent)", fillOpacity: 0.75, insetRight: 1 }),
          Plot.ruleY([0], { stroke: "var(--strong-line)" }),
          Plot.ruleX(marked, { x: "score", stroke: "var(--second)", strokeWidth: 1, strokeOpacity: 0.7 }),
          Plot.dot(marked, { x: "score", frameAnchor: "top", symbol: "triangle", rotate: 180, r: 4, fill: "var(--second)" }),
        ],
      })}
    />
  );
}

export function Spectrum({ spectrum }: { spectrum: NonNullable<Diagnostics["spectrum"]> }) {
  const points = spectrum.eigenvalues.map((value, index) => ({ rank: index + 1, value }));
  const shown = points.filter((point) => point.value > 0);
  return (
    <Chart
      title="Kernel spectrum"
      summary={`${counted(points.length, "eigenvalue")}, from ${figure(points[0]?.value)} down to ${figure(points.at(-1)?.value)}.`}
      note={`Eigenvalues over ${counted(spectrum.items, "item")}, on two logarithmic scales. A steep fall: few directions explain the items, and few labels go far.`}
      data={spectrum}
      table={{ columns: ["Rank", "Eigenvalue"], rows: points.map((point) => [point.rank, figure(point.value)]) }}
      plot={() => ({
        x: { label: "rank →", type: "log", ticks: decades(shown.map((point) => point.rank)), tickFormat: count },
        y: { label: "↑ eigenvalue", type: "log", grid: true, ticks: decades(shown.map((point) => point.value)), tickFormat: figure },
        marks: [
          Plot.line(shown, { x: "rank", y: "value", stroke: "var(--accent)", strokeWidth: 2 }),
          Plot.dot(shown.length < 80 ? shown : [], { x: "rank", y: "value", fill: "var(--accent)", r: 2 }),
        ],
      })}
    />
  );
}
