import { describe, expect, it } from "vitest";
import { ago, bytes, count, counted, duration, figure, share, short, steady } from "./format";

describe("numbers", () => {
  it.each([[0, "0 %"], [0.042, "4.2 %"], [0.05, "5 %"], [0.934, "93 %"], [1, "100 %"], [null, "–"], [Number.NaN, "–"]])("%s as a share is %s", (value, words) => {
    expect(share(value)).toBe(words);
  });
  it.each([[0, "0"], [0.33, "0.33"], [11.84, "11.8"], [12_345, "12,300"], [123_456, "1.2e5"], [1e12, "1e12"], [0.00042, "4.2e-4"], [-2, "-2"], [undefined, "–"]])(
    "%s as a figure is %s",
    (value, words) => {
      expect(figure(value)).toBe(words);
    },
  );
  it.each([[0.33, "0.330"], [11, "11.0"], [0, "0.00"], [1234, "1,230"], [null, "–"]])("%s in a column is %s", (value, words) => {
    expect(steady(value)).toBe(words);
  });
  it("are counted with their noun", () => {
    expect([count(12_345), counted(1, "label"), counted(0, "label"), counted(2, "class", "classes")]).toEqual(["12,345", "1 label", "0 labels", "2 classes"]);
  });
  it.each([[0, "0 B"], [1023, "1023 B"], [1536, "1.5 KiB"], [731 * 1024, "731 KiB"], [3 * 1024 ** 4, "3.0 TiB"]])("%s bytes are %s", (value, words) => {
    expect(bytes(value)).toBe(words);
  });
});

describe("times", () => {
  it.each([[0.0004, "0 ms"], [0.12, "120 ms"], [0.9996, "1.0 s"], [4.21, "4.2 s"], [59.6, "1 min"], [7500, "2 h 5 min"], [7200, "2 h"], [3 * 86_400, "3 d"], [null, "–"]])(
    "%s seconds are %s",
    (seconds, words) => {
      expect(duration(seconds)).toBe(words);
    },
  );
  it("are told from now", () => {
    const now = Date.parse("2026-01-01T00:05:00Z");
    expect([ago("2026-01-01T00:04:55Z", now), ago("2026-01-01T00:00:00Z", now), ago(null, now), ago("never", now)]).toEqual(["just now", "5 min ago", "–", "–"]);
  });
});

describe("short", () => {
  it("counts letters, not their parts", () => {
    expect(short("👍👍👍", 2)).toBe("👍…");
    expect(short("a bc", 3)).toBe("a…");
    expect(short("abc", 3)).toBe("abc");
  });
});
