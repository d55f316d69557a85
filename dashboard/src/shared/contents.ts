/** What items look like: a picture, a text, or numbers. */

import { address, get, key, Problem, send } from "../api/client";
import { Batches } from "./batches";

export interface Content {
  item: string;
  kind: "image" | "text" | "vector";
  text: string | null;
  /** Path of the picture. */
  image: string | null;
  /** At most 256 of the item's numbers, evenly thinned. */
  values: number[] | null;
  /** What the numbers are called, where an upload said so. */
  names: string[] | null;
  /** Where each number lies in the pool, from 0 to 1. */
  typical: number[] | null;
  /** How many numbers the item has. */
  length: number;
}

const byProject = new Map<string, Batches<Content>>();

/** The content of an item; null where the service does not know it. Throws Problem. */
export function content(project: string, item: string): Promise<Content | null> {
  let batches = byProject.get(project);
  if (batches === undefined) {
    batches = new Batches<Content>((items) => fetched(project, items));
    byProject.set(project, batches);
  }
  return batches.get(item);
}

/** What was known of a project that is deleted is nothing about another of its name. */
export const forget = (project: string): void => void byProject.delete(project);

/** An id as a cell of CSV, which lists of ids are. */
export function cell(id: string): string {
  return /[",]/.test(id) ? `"${id.replaceAll('"', '""')}"` : id;
}

async function fetched(project: string, items: string[]): Promise<Map<string, Content>> {
  const path = `/projects/${encodeURIComponent(project)}/contents?items=${encodeURIComponent(items.map(cell).join(","))}`;
  try {
    const answer = await get<{ contents: Content[] }>(path);
    return new Map(answer.contents.map((one) => [one.item, one]));
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) return new Map();
    throw problem;
  }
}

/** Widths that pictures are asked in, so that one that was loaded serves again. */
const WIDTHS = [48, 96, 192, 384];

/** The path of a picture, wide enough for `size` CSS pixels on this screen. */
export function picturePath(image: string, size: number, ratio = globalThis.devicePixelRatio || 1): string {
  const width = WIDTHS.find((one) => one >= size * Math.min(ratio, 2)) ?? WIDTHS[WIDTHS.length - 1];
  return `${image}${image.includes("?") ? "&" : "?"}size=${width}`;
}

/** An address that an `img` can show: with keys on, of a copy that was fetched with the key. Throws Problem. */
export async function pictureAddress(path: string): Promise<{ address: string; done: () => void }> {
  if (key.get() === null) return { address: address(path), done: () => undefined };
  const answer = await send(path);
  if (!answer.ok) throw new Problem(answer.status, "no_picture", "the picture cannot be had");
  const copy = URL.createObjectURL(await answer.blob());
  return { address: copy, done: () => URL.revokeObjectURL(copy) };
}
