import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Reconnect } from "./reconnect";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("tries more rarely, at most 8 seconds apart, until it goes well", async () => {
  const began = Date.now();
  const at: number[] = [];
  const reconnect = new Reconnect(() => {
    at.push(Date.now() - began);
    return Promise.resolve(at.length === 7);
  });
  reconnect.start();
  reconnect.start();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(at).toEqual([500, 1500, 3500, 7500, 15_500, 23_500, 31_500]);
});

test("tries at once when asked to, never twice at a time, and not after its end", async () => {
  let goes = (_well: boolean): void => undefined;
  const attempt = vi.fn(() => new Promise<boolean>((done) => (goes = done)));
  const reconnect = new Reconnect(attempt);
  await reconnect.now();
  expect(attempt).not.toHaveBeenCalled(); // nothing is lost
  reconnect.start();
  void reconnect.now();
  void reconnect.now();
  expect(attempt).toHaveBeenCalledTimes(1);
  // What began again during an attempt goes on after it.
  reconnect.stop();
  reconnect.start();
  goes(false);
  await vi.advanceTimersByTimeAsync(500);
  expect(attempt).toHaveBeenCalledTimes(2);
  reconnect.stop();
  goes(false);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(attempt).toHaveBeenCalledTimes(2);
});
