/** How long things take, from half of them to nearly all. */

import * as Plot from "@observablehq/plot";
import { counted, duration } from "../../shared/format";
import type { Latency } from "../types";
import { Chart } from "./chart";

const WORDS: Record<string, string> = { label_to_suggestion: "label to suggestion", suggest: "suggestion", label: "label" };
export const latencyWords = (what: string): string => WORDS[what] ?? what.replaceAll("_", " ");

export function Latencies({ latencies }: { latencies: Latency[] }) {
  const shown = latencies
    .filter((one): one is Latency & { p50: number; p90: number; p99: number } => one.p50 !== null && one.p90 !== null && one.p99 !== null && one.p50 > 0)
    .map((one) => ({ ...one, words: latencyWords(one.what) }));
  return (
    <Chart
      title="Latencies"
      summary={shown.map((one) => `${one.words}: half within ${duration(one.p50)}, 99 of 100 within ${duration(one.p99)}`).join("; ") || "Nothing measured yet."}
      note="From the median (dot) over nine in ten (tick) to 99 in a hundred (end of the line), on a logarithmic scale."
      height={Math.max(110, shown.length * 42 + 50)}
      data={latencies}
      table={{
        columns: ["What", "Measured", "Median", "9 in 10", "99 in 100"],
        rows: latencies.map((one) => [latencyWords(one.what), counted(one.count, "time"), duration(one.p50), duration(one.p90), duration(one.p99)]),
      }}
      plot={() => ({
        // Ticks outside the domain would be drawn outside the frame.
        marginLeft: 132,
        marginTop: 10,
        marginRight: 28,
        x: { label: null, type: "log", grid: true, ticks: ROUND.filter((one) => one >= range(shown)[0] && one <= range(shown)[1]), tickFormat: (value: number) => (value === 1 ? "1 s" : duration(value)), domain: range(shown) },
        y: { label: null, domain: shown.map((one) => one.words), tickSize: 0 },
        marks: [
          Plot.ruleY(shown, { y: "words", x1: "p50", x2: "p99", stroke: "var(--accent)", strokeWidth: 3, strokeOpacity: 0.5 }),
          Plot.tickX(shown, { y: "words", x: "p90", stroke: "var(--accent)", strokeWidth: 3, insetTop: 10, insetBottom: 10 }),
          Plot.dot(shown, { y: "words", x: "p50", fill: "var(--accent)", r: 6 }),
        ],
      })}
    />
  );
}

/** Round lengths of time, in seconds. */
const ROUND = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000];

/** From a round length of time to another, in seconds. */
export function range(latencies: { p50: number; p99: number }[]): [number, number] {
  if (latencies.length === 0) return [0.001, 1];
  const least = Math.min(...latencies.map((one) => one.p50));
  const most = Math.max(...latencies.map((one) => one.p99));
  const low = ROUND.findLast((one) => one <= least) ?? ROUND[0]!;
  const high = ROUND.find((one) => one >= most && one > low) ?? most;
  return [Math.min(low, least), high];
}
