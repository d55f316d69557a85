/** One person's labeling of one project: what is shown, what was said, and what comes next. */

import { Problem } from "../api/client";
import { newId } from "../shared/id";
import { Entries } from "./entries";
import { Model } from "./model";
import { Outbox, passes, type Said } from "./outbox";
import { preload } from "./preload";
import { Reconnect } from "./reconnect";
import { release, renew, suggest, type SuggestAnswer, type Wanted } from "./service";
import { FIRST, halted, type Entry, type Shown } from "./session_state";
import { settings } from "./settings";
import { Spares } from "./spares";

const LEASE_SECONDS = 120;
const RENEW_MS = 40_000;
/** A spare is shown if the fresh suggestion takes longer than this. */
const BOUND_MS = 1500;
const SPARES = 2;
const IDLE_MS = 350;
const SPARES_AGAIN_MS = 5000;

export class Session extends Entries {
  protected readonly outbox: Outbox;
  private readonly spares = new Spares(SPARES);
  private readonly reconnect = new Reconnect(() => this.reach());
  private turn = 0;
  private stopped = false;
  private idle: ReturnType<typeof setTimeout> | undefined;
  private readonly renewing: ReturnType<typeof setInterval>;

  constructor(
    readonly project: string,
    readonly annotator: string,
    readonly model: Model,
  ) {
    super(FIRST);
    this.outbox = new Outbox(project, {
      saved: (said, seq) => this.saved(said, seq),
      refused: (said, problem) => this.refused(said, problem),
      lost: (lost) => this.connection(lost),
      unauthorised: (problem) => this.fail(problem),
    });
    this.renewing = setInterval(() => void this.hold(), RENEW_MS);
  }

  async start(): Promise<void> {
    const kept = this.outbox.waiting;
    if (kept > 0) this.set({ unsent: kept, notice: `${kept} from before could not be sent then: sending now.` });
    try {
      await this.model.load();
    } catch (reason) {
      return passes(reason) ? this.connection(true) : this.fail(reason);
    }
    void this.model.refresh();
    await this.advance();
  }

  /** Gives back what is held. For when the page is left. */
  leave(): void {
    const held = this.held();
    if (held.length > 0) release(this.project, this.annotator, held);
  }

  stop(): void {
    this.stopped = true;
    this.reconnect.stop();
    this.turn += 1;
    clearInterval(this.renewing);
    clearTimeout(this.idle);
    this.leave();
  }

  label(name: string): void {
    this.say({ label: name }, name, false, `${name}.`);
  }

  skip(own: boolean): void {
    this.say(own ? { skip: true, own: true } : { skip: true }, null, own, own ? "Skipped for you." : "Skipped for all.");
  }

  /** Takes the last thing back and shows its item again. */
  undo(): void {
    const last = this.state.history.find((entry) => !entry.undone && entry.state !== "refused");
    if (last === undefined) return;
    this.outbox.push({ event_id: newId(), project: this.project, item: last.item, annotator: this.annotator, label: null });
    const undone = this.change(last, { undone: true });
    this.callBack(undone, `Undone. ${last.item} again.`);
    void this.sent().then(() => this.model.refresh());
  }

  /** Shows an item of the history, to say something else of it. */
  correct(entry: Entry): void {
    if (this.state.busy || entry.undone) return;
    this.callBack(entry, `Correcting ${entry.item}.`);
  }

  /** Leaves a correction as it was. */
  back(): void {
    if (this.state.shown?.entry == null || this.state.busy) return;
    const aside = this.spares.take();
    if (aside === undefined) return void this.advance();
    this.show(aside);
  }

  /** Asks again: after a new key, for items that others held, or once a model is there. */
  again(): void {
    this.set({ problem: null, ended: null });
    if (this.model.state.project === null) void this.start();
    else void this.advance();
  }

  dismiss(): void {
    this.set({ notice: null });
  }

  /** The connection may be there again: try without waiting for the next attempt. */
  retry(): void {
    void this.reconnect.now();
  }

  /** From now on suggestions rest on a model: spares that were drawn by chance are given back. */
  modelCame(): void {
    const drawn = this.spares.empty();
    if (drawn.length > 0) release(this.project, this.annotator, drawn);
    this.prefetchSoon();
    this.set({ notice: "The model is ready: from the next item on, suggestions rest on it.", said: "The model is ready." });
  }

  private say(what: Partial<Said>, label: string | null, own: boolean, words: string): void {
    const { shown, busy, history } = this.state;
    if (shown === null || busy) return;
    const id = newId();
    this.outbox.push({ event_id: id, project: this.project, item: shown.item, annotator: this.annotator, ...what });
    const guess = shown.suggestion?.predicted ?? shown.entry?.guess ?? null;
    const entry: Entry = { id, item: shown.item, label, own, guess, state: "waiting", problem: null, undone: false };
    const rest = history.filter((one) => one.item !== shown.item || one.state === "refused");
    this.set({ history: [entry, ...rest], unsent: this.outbox.waiting, said: words, busy: true, notice: null });
    void this.advance();
  }

  private callBack(entry: Entry, said: string): void {
    const { shown, busy } = this.state;
    this.turn += 1;
    clearTimeout(this.idle);
    if (shown !== null && shown.entry === null && !busy) this.spares.putBack(shown);
    this.set({ shown: { item: entry.item, suggestion: null, answer: null, entry }, busy: false, ended: null, said });
  }

  private connection(lost: boolean): void {
    if (lost === this.state.lost || this.stopped) return;
    const said = lost ? "The connection is lost. Labels are kept here." : "The connection is back. Labels are sent.";
    this.set({ lost, said });
    if (lost) return this.reconnect.start();
    this.reconnect.stop();
    const { shown, busy } = this.state;
    if (busy && shown === null) return void this.advance();
    void this.hold(); // nothing was renewed meanwhile
    if (!busy) this.prefetchSoon();
  }

  /** Whether the service is there again, for all that is wanted of it: what was said is sent, an item came. */
  private async reach(): Promise<boolean> {
    try {
      if (this.model.state.project === null) await this.model.load();
      const all = await this.sent();
      if (!all || !this.state.lost) return all; // once something was sent, the rest is under way
      const turn = this.turn;
      const fresh = await this.ask(1, []);
      this.arrived(turn, fresh);
      this.connection(false);
      return true;
    } catch (reason) {
      if (!passes(reason) && !this.stopped) this.fail(reason);
      return !passes(reason);
    }
  }

  /** Shows a problem that trying again does not mend. */
  private fail(reason: unknown): void {
    this.reconnect.stop();
    this.set(halted(reason as Problem));
  }

  /** Shows the next item: the fresh suggestion, or a spare where that takes too long. */
  private async advance(): Promise<void> {
    const turn = (this.turn += 1);
    clearTimeout(this.idle);
    this.set({ busy: true });
    const late = setTimeout(() => this.showSpare(turn), settings.state.atOnce ? 0 : BOUND_MS);
    try {
      const fresh = await this.fresh(turn);
      if (fresh === null) return;
      this.arrived(turn, fresh);
      this.connection(false);
    } catch (reason) {
      if (turn === this.turn) this.fail(reason);
    } finally {
      clearTimeout(late);
    }
  }

  private showSpare(turn: number): void {
    if (turn !== this.turn || !this.state.busy) return;
    const spare = this.spares.take();
    if (spare !== undefined) this.show(spare);
    else if (this.state.lost) this.set({ shown: null });
  }

  private arrived(turn: number, fresh: SuggestAnswer): void {
    const suggestion = fresh.suggestions[0];
    if (turn !== this.turn) {
      // Something else is shown by now; what came late is held, and serves later.
      if (suggestion !== undefined) this.keep([{ item: suggestion.item, suggestion, answer: fresh, entry: null }]);
      return;
    }
    if (!this.state.busy) {
      if (suggestion !== undefined) this.keep([{ item: suggestion.item, suggestion, answer: fresh, entry: null }]);
    } else if (suggestion === undefined) {
      const spare = this.spares.take();
      if (spare !== undefined) this.show(spare);
      else this.set({ shown: null, busy: false, ended: fresh.reason ?? "nothing_left", said: "There is nothing to label now." });
    } else {
      this.show({ item: suggestion.item, suggestion, answer: fresh, entry: null });
    }
    void this.model.refresh();
    this.prefetchSoon();
  }

  private show(shown: Shown): void {
    this.spares.without([shown.item]);
    void preload(this.project, shown.item).catch(() => undefined); // its small picture goes into the history
    const guess = shown.suggestion?.predicted;
    const sure = shown.suggestion?.confidence;
    const takes = guess && settings.state.guess ? ` The model takes it for ${guess}${sure ? `, ${Math.round(100 * sure)} per cent` : ""}.` : "";
    const done = this.state.history.length > 0 && this.outbox.waiting === 0 ? " Saved." : "";
    const before = this.state.said.split(" Next: ")[0]?.replace(" Saved.", "") ?? "";
    this.set({ shown, busy: false, ended: null, said: `${before}${done} Next: ${shown.item}.${takes}`.trim() });
  }

  /** A suggestion that knows everything said; null where there is none yet. Throws Problem that will not pass. */
  private async fresh(turn: number): Promise<SuggestAnswer | null> {
    try {
      if ((await this.sent()) && turn === this.turn) return await this.ask(1, []);
    } catch (reason) {
      if (!passes(reason)) throw reason;
    }
    if (turn !== this.turn || this.state.problem !== null) return null;
    this.connection(true);
    this.showSpare(turn);
    return null;
  }

  private async ask(count: number, exclude: string[]): Promise<SuggestAnswer> {
    const wanted: Wanted = { project: this.project, annotator: this.annotator, count, lease_seconds: LEASE_SECONDS };
    if (exclude.length > 0) wanted.exclude = exclude;
    try {
      return await suggest(this.model.ready ? wanted : { ...wanted, strategy: "random" });
    } catch (reason) {
      // The model that was there is being replaced, or there is none yet: the page says that it is by chance.
      if (!(reason instanceof Problem) || reason.code !== "not_prepared") throw reason;
      await this.model.load();
      return suggest({ ...wanted, strategy: "random" });
    }
  }

  private prefetchSoon(milliseconds = IDLE_MS): void {
    const { turn } = this;
    clearTimeout(this.idle);
    this.idle = setTimeout(() => void this.prefetch(turn), milliseconds);
  }

  /** Holds spares for when the connection is lost or slow, once the person looks at an item for a while. */
  private async prefetch(turn: number): Promise<void> {
    const { shown } = this.state;
    const wanted = settings.state.atOnce ? 1 : SPARES - this.spares.items.length;
    if (turn !== this.turn || shown === null || wanted <= 0 || this.state.lost) return;
    try {
      const exclude = [shown.item, ...this.spares.items];
      const { ready } = this.model;
      const answer = await this.ask(wanted, exclude);
      if (ready !== this.model.ready) return release(this.project, this.annotator, answer.suggestions.map((one) => one.item));
      const found = answer.suggestions.map((suggestion) => ({ item: suggestion.item, suggestion, answer, entry: null }));
      this.keep(found);
    } catch (reason) {
      // Spares are a convenience: the next item is asked for by itself.
      if (passes(reason) && turn === this.turn) this.prefetchSoon(SPARES_AGAIN_MS);
    }
  }

  /** Puts spares first; more than are useful are given back. */
  private keep(found: Shown[]): void {
    const known = new Set([this.state.shown?.item, ...this.state.history.filter((one) => !one.undone).map((one) => one.item)]);
    const rest = this.spares.keep(found.filter((one) => !known.has(one.item)));
    for (const item of this.spares.items) void preload(this.project, item).catch(() => undefined);
    if (rest.length > 0) release(this.project, this.annotator, rest);
  }

  private held(): string[] {
    const { shown, busy } = this.state;
    const looking = shown !== null && shown.entry === null && !busy ? [shown.item] : [];
    return [...looking, ...this.spares.items];
  }

  /** Renews what is looked at; what went to somebody else meanwhile is not shown on. */
  async hold(): Promise<void> {
    const items = this.held();
    if (this.state.ended === "others_hold_the_rest") return this.again();
    if (document.hidden || items.length === 0 || this.state.lost) return;
    try {
      const gone = new Set(await renew(this.project, this.annotator, items, LEASE_SECONDS));
      this.spares.without(gone);
      if (this.state.shown !== null && this.state.shown.entry === null && gone.has(this.state.shown.item) && !this.state.busy) {
        this.set({ notice: `${this.state.shown.item} may be with somebody else by now: here is another.` });
        void this.advance();
      }
    } catch {
      // Tried again in a while; a lease that ended is not lost unless somebody else wants the item.
    }
  }
}
