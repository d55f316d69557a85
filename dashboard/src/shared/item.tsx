/** An item as people see it: its picture, its text, or its numbers as a line. */

import { useEffect, useState } from "preact/hooks";
import { pictureAddress, picturePath, type Content } from "./contents";
import { short } from "./format";
import { useContent } from "./use_content";
import { placePoints, VectorTable } from "./vector";

interface Props {
  project: string;
  item: string;
  /** Height and width in CSS pixels; a text is as wide as its place. */
  size: number;
  /** In place of the alternative text; empty where words beside the picture say what it is. */
  alt?: string;
}

/** From here on there is room to read: a text as a whole, a table of numbers. */
const LARGE = 160;

/** Shows an item; until it is there, or where it cannot be had, its name on a tile. */
export function ItemPicture({ project, item, size, alt }: Props) {
  const found = useContent(project, item);
  if (found === undefined) return <Tile size={size} waiting />;
  if (found?.kind === "image" && found.image !== null) {
    return <Picture path={picturePath(found.image, size)} name={item} size={size} alt={alt ?? `Picture ${item}`} />;
  }
  if (found?.kind === "text" && found.text !== null) return <Text text={found.text} size={size} />;
  if (found?.values && found.values.length > 0) {
    if (size >= LARGE && found.names) return <VectorTable item={item} content={found} />;
    return <Line points={lineOf(found)} middle={found.typical !== null} size={size} alt={alt ?? lineWords(item, found)} />;
  }
  return <Tile size={size} name={item} />;
}

function Picture({ path, name, size, alt }: { path: string; name: string; size: number; alt: string }) {
  const [source, setSource] = useState<string | null>(null);
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    let done = (): void => undefined;
    let here = true;
    setBroken(false);
    pictureAddress(path).then(
      (one) => {
        if (!here) return one.done();
        done = one.done;
        setSource(one.address);
      },
      () => here && setBroken(true),
    );
    return () => {
      here = false;
      done();
    };
  }, [path]);
  if (broken) return <Tile size={size} name={name} />;
  if (source === null) return <Tile size={size} waiting />;
  return (
    <img
      class="item-picture"
      src={source}
      alt={alt}
      width={size}
      height={size}
      decoding="async"
      onError={() => setBroken(true)}
    />
  );
}

/** The part of a text that fits into a tile of this size; a big one shows it all, and scrolls. */
function Text({ text, size }: { text: string; size: number }) {
  if (size < LARGE) return <span class="item-text small" title={short(text, 600)}>{short(text, 90)}</span>;
  return <div class="item-text" tabIndex={text.length > 1200 ? 0 : undefined}>{text}</div>;
}

/** Points of a line through values, in a box of 100 by 100. */
export function linePoints(values: number[]): string {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const span = high - low || 1;
  const step = values.length > 1 ? 100 / (values.length - 1) : 0;
  return values.map((value, index) => `${(index * step).toFixed(2)},${(96 - (92 * (value - low)) / span).toFixed(2)}`).join(" ");
}

/** What a line of values is, in words. */
export function lineWords(item: string, { values, length }: Pick<Content, "values" | "length">): string {
  const shown = values ?? [];
  const ends = shown.length === 0 ? "" : ` from ${Math.min(...shown).toPrecision(3)} to ${Math.max(...shown).toPrecision(3)}`;
  return `${item}: ${length} ${length === 1 ? "number" : "numbers"}${ends}`;
}

/** Points of a vector's line: where its numbers lie in the pool, or else the numbers themselves. */
export function lineOf({ values, typical }: Pick<Content, "values" | "typical">): string {
  return typical ? placePoints(typical) : linePoints(values ?? []);
}

function Line({ points, middle, size, alt }: { points: string; middle: boolean; size: number; alt: string }) {
  const named = alt === "" ? { "aria-hidden": true as const } : { role: "img" as const, "aria-label": alt };
  return (
    <svg class="item-line" width={size} height={size} viewBox="-4 -2 108 104" preserveAspectRatio="none" {...named}>
      {middle && <line x1="0" x2="100" y1="50" y2="50" />}
      <polyline points={points} />
    </svg>
  );
}

function Tile({ size, name, waiting = false }: { size: number; name?: string; waiting?: boolean }) {
  return (
    <svg class={waiting ? "item-tile waiting" : "item-tile"} width={size} height={size} viewBox="0 0 96 96" aria-hidden="true">
      {name !== undefined && <text x="48" y="53" text-anchor="middle">{short(name, 12)}</text>}
    </svg>
  );
}
