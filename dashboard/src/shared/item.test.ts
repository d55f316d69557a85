import { afterEach, describe, expect, it, vi } from "vitest";
import { Batches, grouped } from "./batches";
import { picturePath } from "./contents";
import { linePoints, lineWords } from "./item";

afterEach(() => vi.useRealTimers());

const echo = () => vi.fn(async (names: string[]) => new Map(names.filter((name) => name !== "gone").map((name) => [name, `<${name}>`])));

describe("Batches", () => {
  it("asks once for what is wanted at the same time, and never again", async () => {
    const ask = echo();
    const batches = new Batches(ask);
    expect(await Promise.all([batches.get("a"), batches.get("b"), batches.get("a"), batches.get("gone")])).toEqual(["<a>", "<b>", "<a>", null]);
    await batches.get("b");
    expect(ask.mock.calls).toEqual([[["a", "b", "gone"]]]);
  });

  it("keeps to the number per request", async () => {
    const ask = echo();
    const batches = new Batches(ask, { count: 2 });
    await Promise.all(["a", "b", "c"].map((name) => batches.get(name)));
    expect(ask.mock.calls.map(([names]) => names)).toEqual([["a", "b"], ["c"]]);
  });

  it("asks again after a failure", async () => {
    const ask = echo();
    ask.mockRejectedValueOnce(new Error("down"));
    const batches = new Batches(ask);
    await expect(batches.get("a")).rejects.toThrow("down");
    expect(await batches.get("a")).toBe("<a>");
  });

  it("forgets the oldest answers", async () => {
    const ask = echo();
    const batches = new Batches(ask, { kept: 2 });
    for (const name of ["a", "b", "c", "c", "a"]) await batches.get(name);
    expect(ask.mock.calls.map(([names]) => names[0])).toEqual(["a", "b", "c", "a"]);
  });
});

describe("grouped", () => {
  it("keeps addresses short, by their encoded length", () => {
    const names = ["éé", "b", "c"].map((name) => ({ name }));
    expect(grouped(names, { count: 9, characters: 15 }).map((group) => group.map(({ name }) => name))).toEqual([["éé", "b"], ["c"]]);
  });
});

describe("pictures", () => {
  it("are asked in few widths, twice as wide on dense screens", () => {
    expect(picturePath("/projects/p/image?item=a", 80, 1)).toBe("/projects/p/image?item=a&size=96");
    expect(picturePath("/projects/p/image?item=a", 80, 2)).toBe("/projects/p/image?item=a&size=192");
    expect(picturePath("/image", 900, 3)).toBe("/image?size=384");
  });
});

describe("lines", () => {
  it("fill their box from the smallest to the largest value", () => {
    expect(linePoints([0, 1, 2])).toBe("0.00,96.00 50.00,50.00 100.00,4.00");
    expect(linePoints([3])).toBe("0.00,96.00");
  });

  it("are told in words", () => {
    expect(lineWords("item-1", { values: [0, 16], length: 64 })).toBe("item-1: 64 numbers from 0.00 to 16.0");
  });
});
