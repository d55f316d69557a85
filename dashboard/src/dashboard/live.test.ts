import { describe, expect, it } from "vitest";
import { joined, merged } from "./data";
import { announced, NOTHING, reduce, understood, type Live } from "./live";
import type { CurvePoint, Job, Mark } from "./types";

function job(id: string, more: Partial<Job> = {}): Job {
  const progress = { done: 0, total: 0, unit: "" };
  const times = { created_at: `2026-01-01T00:00:${id.padStart(2, "0")}Z`, started_at: null, finished_at: null };
  return { id, kind: "train", project: "p", status: "running", stage: "", progress, eta_seconds: null, attempt: 1, error: null, result: null, links: {}, queue_position: null, ...times, ...more };
}

const mark: Mark = { project: "p", label_seq: 3, pool_version: 1, kernel: "kernel-1", applied_seq: 2, open_suggestions: 0 };
const live = (...jobs: Job[]): Live => ({ ...NOTHING, connection: "live", jobs: Object.fromEntries(jobs.map((one) => [one.id, one])) });

describe("reduce", () => {
  it("asks for everything anew when a stream is back, not when it first comes", () => {
    const first = reduce(NOTHING, { kind: "connection", state: "live" });
    expect([first.connection, first.round]).toEqual(["live", 0]);
    const lost = reduce(first, { kind: "connection", state: "reconnecting" });
    expect([lost.connection, lost.round]).toEqual(["reconnecting", 0]);
    expect(reduce(lost, { kind: "connection", state: "live" }).round).toBe(1);
  });

  it("goes by the clock only while there is no stream", () => {
    expect(reduce(NOTHING, { kind: "tick" }).round).toBe(1);
    expect(reduce(live(), { kind: "tick" }).round).toBe(0);
  });

  it("keeps what it was told last", () => {
    const moved = reduce(reduce(live(), { kind: "project", mark }), { kind: "project", mark: { ...mark, label_seq: 4 } });
    expect(moved.marks["p"]?.label_seq).toBe(4);
    const worked = reduce(live(job("1")), { kind: "job", job: job("1", { stage: "training" }) });
    expect(worked.jobs["1"]?.stage).toBe("training");
  });

  it("forgets the oldest ended jobs, never one at work", () => {
    let now = live(job("0"));
    for (let id = 1; id <= 310; id += 1) {
      const at = new Date(1.7e12 + id * 1000).toISOString();
      now = reduce(now, { kind: "job", job: job(String(id), { status: "succeeded", created_at: at }) });
    }
    expect(Object.keys(now.jobs)).toHaveLength(300);
    expect(now.jobs["0"]).toBeDefined();
    expect(now.jobs["1"]).toBeUndefined();
    expect(now.jobs["310"]).toBeDefined();
  });
});

describe("announced", () => {
  it("tells once that long work has ended, and of nothing else", () => {
    const done = job("1", { status: "succeeded" });
    expect(announced(job("1"), done)).toBe("Training for p is done.");
    expect(announced(job("1"), job("1", { status: "failed" }))).toBe("Training for p has failed.");
    expect(announced(job("1"), job("1", { status: "cancelled" }))).toBe("Training for p has been cancelled.");
    expect(announced(undefined, done)).toBeNull();
    expect(announced(done, done)).toBeNull();
    expect(announced(job("1"), job("1", { stage: "later" }))).toBeNull();
    expect(announced(job("1", { kind: "suggest" }), job("1", { kind: "suggest", status: "succeeded" }))).toBeNull();
  });
});

describe("understood", () => {
  it("passes over what it does not know", () => {
    expect(understood("project", mark)).toEqual({ kind: "project", mark });
    expect(understood("weather", {})).toBeNull();
    expect(understood("job", null)).toBeNull();
    expect(understood("job", "text")).toBeNull();
  });
});

describe("merged", () => {
  it("puts what the stream told above what was asked, newest first", () => {
    const told = live(job("1", { stage: "new" }), job("3"), job("2", { project: "q" }));
    const found = merged([job("1", { stage: "old" })], told, "p");
    expect(found.map((one) => [one.id, one.stage])).toEqual([["3", ""], ["1", "new"]]);
  });

  it("does not take a job back that has ended", () => {
    expect(merged([job("1", { status: "cancelled" })], live(job("1")), null)[0]?.status).toBe("cancelled");
  });

  it("trusts what was asked while there is no stream, but for ends", () => {
    const lost: Live = { ...live(job("1", { stage: "old" }), job("2", { status: "failed" })), connection: "reconnecting" };
    const found = merged([job("1", { stage: "new" }), job("2")], lost, null);
    expect(found.map((one) => [one.id, one.stage, one.status])).toEqual([["2", "", "failed"], ["1", "new", "running"]]);
  });
});

describe("joined", () => {
  it("replaces the points that were asked for again", () => {
    const point = (label_seq: number, kernel: string): CurvePoint => ({
      label_seq, labels: label_seq, leave_one_out_accuracy: 1, changed_predictions: 0, flipped: 0, held_out_accuracy: null, kernel, checkpoint: "c", created_at: "",
    });
    const found = joined([point(1, "a"), point(2, "a")], [point(2, "a"), point(2, "b"), point(3, "b")], 1);
    expect(found.map((one) => `${one.label_seq}${one.kernel}`)).toEqual(["1a", "2a", "2b", "3b"]);
  });
});
