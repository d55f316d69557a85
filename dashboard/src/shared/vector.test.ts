import { describe, expect, it } from "vitest";
import { lineOf } from "./item";
import { barOf, placePoints, placeWords, rowsOf, SEEN } from "./vector";

describe("rows of a vector", () => {
  it("have a name, a value and a place; the lowest and the highest are marked", () => {
    const rows = rowsOf({ names: ["area", "", "depth"], values: [1001, 0.1, -2], typical: [0.97, 0.5, 0.02] });
    expect(rows).toEqual([
      { name: "area", value: 1001, typical: 0.97, far: true },
      { name: "number 2", value: 0.1, typical: 0.5, far: false },
      { name: "depth", value: -2, typical: 0.02, far: true },
    ]);
  });

  it("begin with the furthest from the middle where not all can be seen", () => {
    const typical = Array.from({ length: SEEN + 1 }, (_, index) => 0.5 + index / 100);
    typical[3] = 0.01;
    const given = { names: typical.map((_, index) => `n${index}`), values: typical };
    expect(rowsOf({ ...given, typical }).slice(0, 3).map((row) => row.name)).toEqual(["n3", "n20", "n19"]);
    expect(rowsOf({ ...given, typical: null }).map((row) => row.name)).toEqual(given.names);
  });

  it("are none without names", () => {
    expect(rowsOf({ names: null, values: [1], typical: [0.5] })).toEqual([]);
  });
});

describe("places in the pool", () => {
  it("are bars from the middle, also where they are in it", () => {
    expect([0, 0.25, 0.5, 1].map(barOf)).toEqual([
      { left: "0%", width: "50%" },
      { left: "25%", width: "25%" },
      { left: "50%", width: "2%" },
      { left: "50%", width: "50%" },
    ]);
  });

  it("are told in words", () => {
    expect([0, 0.2, 0.5, 0.97].map(placeWords)).toEqual(["below 100 % of the pool", "below 80 % of the pool", "above 50 % of the pool", "above 97 % of the pool"]);
  });

  it("make a line in which every number shows, whatever its size", () => {
    expect(placePoints([0, 0.5, 1])).toBe("0.00,96.00 50.00,50.00 100.00,4.00");
    expect(lineOf({ values: [1000, 1, 2], typical: [0.5, 0, 1] })).toBe("0.00,50.00 50.00,96.00 100.00,4.00");
    expect(lineOf({ values: [1000, 0, 500], typical: null })).toBe("0.00,4.00 50.00,96.00 100.00,50.00");
  });
});
