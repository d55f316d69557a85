/** A vector as people see it: a line of where its numbers lie in the pool, or a table of what each is called. */

import { Fragment } from "preact";
import type { Content } from "./contents";
import { counted, figure } from "./format";

export interface Row {
  name: string;
  value: number;
  /** Where the value lies in the pool, from 0 to 1; null where that is not known. */
  typical: number | null;
  /** Among the lowest or the highest of the pool. */
  far: boolean;
}

/** Rows that can be seen at once, about: beyond it the table scrolls. */
export const SEEN = 20;
const FAR = 0.45;

/** The numbers with their names. What would be scrolled out of sight is ordered: the furthest from the middle first. */
export function rowsOf({ names, values, typical }: Pick<Content, "names" | "values" | "typical">): Row[] {
  if (!names || !values) return [];
  const rows = values.map((value, index) => {
    const place = typical?.[index] ?? null;
    return { name: names[index] || `number ${index + 1}`, value, typical: place, far: distance(place) >= FAR };
  });
  return rows.length > SEEN && typical ? rows.sort((one, other) => distance(other.typical) - distance(one.typical)) : rows;
}

const distance = (place: number | null): number => (place === null ? 0 : Math.abs(place - 0.5));

/** A bar from the middle of the pool to a place in it, in per cent of the bar's room. */
export function barOf(place: number): { left: string; width: string } {
  const low = Math.min(place, 0.5);
  return { left: `${Math.round(100 * low)}%`, width: `${Math.max(2, Math.round(100 * (Math.max(place, 0.5) - low)))}%` };
}

/** Where a value lies, in words. */
export function placeWords(place: number): string {
  const percent = Math.round(100 * place);
  return percent >= 50 ? `above ${percent} % of the pool` : `below ${100 - percent} % of the pool`;
}

/** Points of a line through places in the pool, in a box of 100 by 100 whose middle is the middle of the pool. */
export function placePoints(typical: number[]): string {
  const step = typical.length > 1 ? 100 / (typical.length - 1) : 0;
  return typical.map((place, index) => `${(index * step).toFixed(2)},${(96 - 92 * place).toFixed(2)}`).join(" ");
}

/** Every number with its name, its value and where it lies in the pool. */
export function VectorTable({ item, content }: { item: string; content: Content }) {
  const rows = rowsOf(content);
  const scrolls = rows.length > SEEN;
  const compared = content.typical !== null;
  return (
    <div class="item-vector" role="region" aria-label={`Numbers of ${item}`} tabIndex={scrolls ? 0 : undefined}>
      <table class="figures small">
        <caption class="quiet">
          {counted(rows.length, "number")}
          {compared && (scrolls ? ", the most unusual of the pool first" : ", the most unusual of the pool in bold")}
        </caption>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col" class="value">Value</th>
            {compared && <th scope="col">In the pool<span class="ends quiet" aria-hidden="true"><i>low</i><i>high</i></span></th>}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index} class={row.far ? "far" : undefined}>
              <th scope="row"><Name name={row.name} /></th>
              <td class="value">{figure(row.value)}</td>
              {compared && row.typical !== null && <Place place={row.typical} />}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A name that breaks where its words end. */
function Name({ name }: { name: string }) {
  return <>{name.split(/(?<=[_.])/).map((part, index) => <Fragment key={index}>{index > 0 && <wbr />}{part}</Fragment>)}</>;
}

function Place({ place }: { place: number }) {
  const words = placeWords(place);
  return (
    <td class="place" title={words}>
      <span class="track" aria-hidden="true"><i style={barOf(place)} /></span>
      <span class="hidden">{words}</span>
    </td>
  );
}
