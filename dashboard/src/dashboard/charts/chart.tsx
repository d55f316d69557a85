/** A chart with its words and its numbers: what is drawn is also told, and stands in a table below. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import * as Plot from "@observablehq/plot";
import { count } from "../../shared/format";

export interface Table {
  columns: string[];
  rows: (string | number)[][];
}

interface Props {
  title: string;
  /** What the chart shows now, in a sentence; stands for the picture where it is not seen. */
  summary: string;
  /** How to read it. */
  note?: ComponentChildren;
  legend?: { words: string; shape: "line" | "second" | "broken" | "bar" | "tick" | "dashed" }[];
  table: Table;
  /** At least so high, in CSS pixels; higher where its neighbours are. */
  height?: number;
  /** Whether it keeps to its height. */
  fixed?: boolean;
  /** Options of the plot for a width; it is drawn anew when `data` changes. */
  plot: (width: number) => Plot.PlotOptions;
  data: unknown;
}

const ROWS_MAX = 200;

export function Chart({ title, summary, note, legend, table, height = 220, fixed = false, plot, data }: Props) {
  const id = useId();
  return (
    <figure class="chart" aria-labelledby={`${id}-title`}>
      <figcaption>
        <h2 id={`${id}-title`}>{title}</h2>
        {note !== undefined && <p class="small quiet">{note}</p>}
      </figcaption>
      {legend && (
        <ul class="legend" aria-hidden="true">
          {legend.map(({ words, shape }) => <li key={words}><i class={shape} />{words}</li>)}
        </ul>
      )}
      <Drawing summary={summary} height={height} most={fixed ? height : 1.4 * height} plot={plot} data={data} />
      <Numbers of={title} table={table} />
    </figure>
  );
}

function Drawing({ summary, height: least, most, plot, data }: Pick<Props, "summary" | "plot" | "data"> & { height: number; most: number }) {
  const place = useRef<HTMLDivElement>(null);
  const [width, height] = useSize(place);
  useEffect(() => {
    const here = place.current;
    if (here === null || width === 0) return;
    const made = drawn({ ...plot(width), width, height });
    here.replaceChildren(made);
    return () => made.remove();
  }, [width, height, data]);
  return <div class="drawing" role="img" aria-label={summary} ref={place} style={{ flexBasis: `${least}px`, maxHeight: `${most}px` }} />;
}

/** A plot that takes its colours and its letters from the page. */
function drawn(options: Plot.PlotOptions): Element {
  const made = Plot.plot({ marginLeft: 48, marginBottom: 36, marginTop: 26, marginRight: 16, ...options, className: "plot", style: { fontSize: "12px" } });
  // The page's rules are in its style sheet: its policy takes no other.
  made.querySelectorAll("style").forEach((style) => style.remove());
  // The whole is one picture with words of its own; names of marks are for the style sheet.
  made.querySelectorAll("[aria-label]").forEach((mark) => {
    mark.setAttribute("data-mark", mark.getAttribute("aria-label") ?? "");
    mark.removeAttribute("aria-label");
  });
  return made;
}

/** Width and height of a place, in whole CSS pixels. */
function useSize(place: { current: HTMLElement | null }): [number, number] {
  const [size, setSize] = useState<[number, number]>([0, 0]);
  useEffect(() => {
    if (place.current === null) return;
    const watch = new ResizeObserver(([entry]) => {
      if (entry === undefined) return;
      const { width, height } = entry.contentRect;
      setSize((now) => (now[0] === Math.floor(width) && now[1] === Math.floor(height) ? now : [Math.floor(width), Math.floor(height)]));
    });
    watch.observe(place.current);
    return () => watch.disconnect();
  }, []);
  return size;
}

export function Numbers({ of, table }: { of: string; table: Table }) {
  const [open, setOpen] = useState(false);
  const rows = useMemo(() => (open ? table.rows.slice(-ROWS_MAX) : []), [open, table]);
  const left = table.rows.length - ROWS_MAX;
  return (
    <details class="numbers" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Numbers<span class="hidden"> of {of}</span></summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Numbers of ${of}`}>
        <table>
          {left > 0 && <caption>The last {count(ROWS_MAX)} of {count(table.rows.length)} rows</caption>}
          <thead><tr>{table.columns.map((column) => <th key={column} scope="col">{column}</th>)}</tr></thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>{row.map((cell, column) => (column === 0 ? <th scope="row">{cell}</th> : <td>{cell}</td>))}</tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

/** A small line without axes; decoration beside the number that it leads up to. */
export function Spark({ values, low = 0, high = 1 }: { values: number[]; low?: number; high?: number }) {
  if (values.length < 2) return null;
  const step = 116 / (values.length - 1);
  const at = (value: number): number => 30 - (28 * (value - low)) / (high - low || 1);
  const points = values.map((value, index) => `${(2 + index * step).toFixed(1)},${at(value).toFixed(1)}`);
  const [x, y] = points.at(-1)!.split(",");
  return (
    <svg class="spark" viewBox="0 0 120 32" width="120" height="32" aria-hidden="true">
      <polyline points={points.join(" ")} />
      <circle cx={x} cy={y} r="2.5" />
    </svg>
  );
}
