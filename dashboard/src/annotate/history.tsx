/** What was said in this session, newest first; a click corrects. */

import { ItemPicture } from "../shared/item";
import { SMALL } from "./preload";
import type { Session } from "./session";
import type { Entry } from "./session_state";

const SHOWN = 60;

export function History({ session }: { session: Session }) {
  const { history, shown } = session.state;
  return (
    <section class="panel history" aria-labelledby="history-title">
      <h2 id="history-title">Your labels</h2>
      {history.length === 0 && <p class="small quiet">What you label appears here. Choose one to correct it.</p>}
      <ol>
        {history.slice(0, SHOWN).map((entry) => (
          <li key={entry.id}><Row session={session} entry={entry} here={shown?.entry?.id === entry.id} /></li>
        ))}
      </ol>
      {history.length > SHOWN && <p class="small quiet">and {history.length - SHOWN} before them</p>}
    </section>
  );
}

function Row({ session, entry, here }: { session: Session; entry: Entry; here: boolean }) {
  const said = entry.label ?? (entry.own ? "skipped for you" : "skipped for all");
  const notes = [
    entry.undone && "taken back",
    entry.state === "waiting" && "not sent yet",
    entry.state === "refused" && `not taken: ${entry.problem ?? ""}`,
    entry.label !== null && entry.guess !== null && entry.guess !== entry.label && `guess was ${entry.guess}`,
  ].filter(Boolean);
  return (
    <button
      class={entry.undone ? "entry undone" : "entry"}
      aria-current={here ? "true" : undefined}
      aria-disabled={entry.undone}
      data-item={entry.item}
      data-state={entry.undone ? "undone" : entry.state}
      onClick={() => session.correct(entry)}
    >
      <ItemPicture project={session.project} item={entry.item} size={SMALL} alt="" />
      <span class="words">
        <strong>{said}</strong>
        <span class="hidden">: {entry.item}, choose to correct</span>
        {notes.length > 0 && <span class={entry.state === "refused" ? "small bad-words" : "small quiet"}> {notes.join(" · ")}</span>}
      </span>
    </button>
  );
}
