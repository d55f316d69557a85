/** Tries until something goes again: ever more rarely, and at once when there is reason to hope. */

const PAUSES_MS = [500, 1000, 2000, 4000, 8000];

export class Reconnect {
  private trying = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private active = false;

  /** `attempt` tells whether it went well, and never throws. */
  constructor(private readonly attempt: () => Promise<boolean>) {}

  /** Tries from now on, until an attempt goes well or `stop`. */
  start(): void {
    if (this.active) return;
    this.active = true;
    this.failures = 0;
    if (!this.trying) this.later();
  }

  stop(): void {
    this.active = false;
    clearTimeout(this.timer);
  }

  /** Tries without waiting, where it tries at all. */
  async now(): Promise<void> {
    if (!this.active || this.trying) return;
    clearTimeout(this.timer);
    this.trying = true;
    const well = await this.attempt();
    this.trying = false;
    if (!this.active) return;
    if (well) this.stop();
    else this.later();
  }

  private later(): void {
    const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => void this.now(), pause);
  }
}
