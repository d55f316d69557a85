/** How the model stands, and what the last label did to it. */

import { get, post, Problem, type Schemas } from "../api/client";
import { pathOf, pause, predictions, sample, type Job, type Point, type Project } from "./service";
import { Store } from "./store";

const SAMPLE = 40;
const POINTS = 200;
const POLL_MS = 500;
/** Held-out accuracy is worked out beside the requests: a moment after the label, later where a worker is busy. */
const HELD_OUT_MS = 500;
const HELD_OUT_SLOWER = 1.25;
const HELD_OUT_MAX_MS = 10_000;
const HELD_OUT_TRIES = 30;
const HELD_OUT_POINTS = 12;

export interface Seen {
  item: string;
  predicted: string;
  /** What it was taken for before the last label, where that was something else. */
  before: string | null;
}

export interface ModelState {
  project: Project | null;
  /** The newest part of the learning curve. */
  points: Point[];
  /** Items from all over the pool, with what they are taken for. */
  sample: Seen[];
  /** Share of the candidates whose predicted class the last label changed. */
  flipped: number | null;
  /** What prepares the next model, while it does. */
  job: Job | null;
  /** Why that failed, in words. */
  jobProblem: string | null;
}

export class Model extends Store<ModelState> {
  private items: string[] = [];
  private sampleSeq = -1;
  private refreshing: Promise<void> | null = null;
  private again = false;
  private tries = 0;
  private later: ReturnType<typeof setTimeout> | undefined;
  private stopped = false;

  constructor(private readonly name: string) {
    super({ project: null, points: [], sample: [], flipped: null, job: null, jobProblem: null });
  }

  /** Whether there is a kernel model to ask. */
  get ready(): boolean {
    return this.state.project?.kernel_state != null;
  }

  /** Throws Problem. */
  async load(): Promise<Project> {
    const project = await get<Project>(pathOf(this.name));
    this.set({ project });
    if (project.preparing !== null && this.state.job === null) void this.follow(project.preparing);
    return project;
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.later);
  }

  /** Looks anew. Calls that come while one is under way are one call after it. Failures leave what was there. */
  refresh(): Promise<void> {
    if (this.refreshing !== null) {
      this.again = true;
      return this.refreshing;
    }
    this.refreshing = this.look()
      .catch(() => undefined)
      .finally(() => {
        this.refreshing = null;
        if (this.again && !this.stopped) {
          this.again = false;
          void this.refresh();
        }
      });
    return this.refreshing;
  }

  private async look(): Promise<void> {
    await this.load();
    if (this.ready) await Promise.all([this.lookAtCurve(), this.lookAtSample()]);
  }

  private async lookAtCurve(): Promise<void> {
    const { points, project } = this.state;
    const after = behind(points, project?.held_out_accuracy != null) ?? Math.max(-1, (project?.label_seq ?? 0) - POINTS);
    const page = await get<Schemas["Curve"]>(pathOf(this.name, `/curve?limit=1000&after_seq=${after}`));
    const known = this.state.points; // another look may have been faster
    const all = new Map([...known, ...(page.points as Point[])].map((point) => [nameOf(point), point]));
    const before = new Set(known.map(nameOf));
    const fresh = page.points.filter((point) => !before.has(nameOf(point)));
    this.set({ points: [...all.values()].slice(-POINTS) });
    if (fresh.length > 0) {
      const flips = fresh.map((point) => point.flipped).filter((share) => share !== null);
      this.set({ flipped: known.length === 0 || flips.length === 0 ? null : flips.reduce((sum, one) => sum + one, 0) });
      this.tries = HELD_OUT_TRIES;
    }
    this.lookForHeldOut();
  }

  private lookForHeldOut(): void {
    clearTimeout(this.later);
    const { points, project } = this.state;
    if (project?.held_out_accuracy == null || points.at(-1)?.held_out_accuracy != null || this.tries === 0 || this.stopped) return;
    const wait = Math.min(HELD_OUT_MAX_MS, HELD_OUT_MS * HELD_OUT_SLOWER ** (HELD_OUT_TRIES - this.tries));
    this.tries -= 1;
    this.later = setTimeout(() => void this.lookAtCurve().catch(() => this.lookForHeldOut()), wait);
  }

  private async lookAtSample(): Promise<void> {
    const { project, sample: before } = this.state;
    if (project === null) return;
    if (this.items.length === 0) this.items = await sample(project, SAMPLE);
    if (this.items.length === 0) return;
    const was = new Map(before.map((one) => [one.item, one.predicted]));
    const now = await predictions(this.name, this.items);
    if (now.label_seq === this.sampleSeq) return; // the marks of the last label stay
    this.sampleSeq = now.label_seq;
    this.set({
      sample: now.predictions.map(({ item, predicted }) => {
        const earlier = was.get(item);
        return { item, predicted, before: earlier === undefined || earlier === predicted ? null : earlier };
      }),
    });
  }

  /** Starts to train a network on the labels so far. */
  async train(): Promise<void> {
    try {
      const job = await post<Job>(pathOf(this.name, "/train"), {});
      this.set({ jobProblem: null });
      await this.follow(job.id);
    } catch (reason) {
      this.set({ jobProblem: reason instanceof Problem ? reason.message : "The service cannot be reached: try again." });
    }
  }

  /** Watches a job until it has ended, then looks at what it made. */
  async follow(id: string): Promise<void> {
    for (;;) {
      if (this.stopped) return;
      try {
        const job = await get<Job>(`/jobs/${id}`);
        this.set({ job });
        if (job.finished_at !== null) {
          const failed = job.status === "failed" ? (job.error?.detail ?? "It failed.") : null;
          this.set({ job: null, jobProblem: failed });
          return await this.refresh();
        }
      } catch (reason) {
        if (reason instanceof Problem && reason.status < 500) return this.set({ job: null });
      }
      await pause(POLL_MS);
    }
  }
}

const nameOf = (point: Point): string => `${point.label_seq} ${point.kernel}`;

/** The label after whose point the curve is to be read again: those that are new, and those still without held-out accuracy. */
function behind(points: Point[], heldOut: boolean): number | undefined {
  if (!heldOut) return points.at(-1)?.label_seq;
  const recent = points.slice(-HELD_OUT_POINTS);
  const first = recent.findIndex((point) => point.held_out_accuracy == null);
  return (first < 0 ? points.at(-1) : recent[first - 1] ?? points.at(-HELD_OUT_POINTS - 1))?.label_seq;
}
