/** The item to label, what the model takes it for, and why it was chosen. */

import { useEffect, useState } from "preact/hooks";
import { content } from "../shared/contents";
import { counted, figure, share } from "../shared/format";
import { ItemPicture } from "../shared/item";
import { LARGE } from "./preload";
import type { Session } from "./session";
import type { Shown } from "./session_state";
import { settings } from "./settings";
import type { SuggestAnswer } from "./service";
import { useStore } from "./store";

const REASON = 56;
const NUMBERS = 32;
const WHY = 5;

export function Stage({ session, shown }: { session: Session; shown: Shown }) {
  const { busy } = session.state;
  return (
    <section class={busy ? "panel stage busy" : "panel stage"} aria-label="The item" aria-busy={busy}>
      <div class="item" data-item={shown.item}>
        <ItemPicture key={shown.item} project={session.project} item={shown.item} size={LARGE} />
      </div>
      <div class="about">
        <p class="small quiet name" title={shown.item}>{shown.item}</p>
        <Numbers key={`numbers ${shown.item}`} project={session.project} item={shown.item} />
        {shown.entry !== null ? <Called session={session} shown={shown} /> : <Guess shown={shown} />}
        {shown.answer !== null && <Fresh unknown={session.unknown} answer={shown.answer} ready={session.model.ready} />}
        {shown.suggestion !== null && <Why session={session} shown={shown} />}
      </div>
    </section>
  );
}

/** The numbers of a short vector without names: a line alone tells little of a handful of them. */
function Numbers({ project, item }: { project: string; item: string }) {
  const [values, setValues] = useState<number[]>([]);
  useEffect(() => {
    let here = true;
    content(project, item).then(
      (found) => here && found?.kind === "vector" && found.names === null && found.length <= NUMBERS && setValues(found.values ?? []),
      () => undefined,
    );
    return () => {
      here = false;
    };
  }, [project, item]);
  if (values.length === 0) return null;
  return <ol class="numbers figures small" aria-label="Its numbers">{values.map((value, index) => <li key={index}>{figure(value)}</li>)}</ol>;
}

function Called({ session, shown }: { session: Session; shown: Shown }) {
  const entry = shown.entry;
  if (entry === null) return null;
  const was = entry.label === null ? "skipped it" : `said ${entry.label}`;
  if (entry.undone) return <p><strong>Taken back.</strong> You had {was}. What is it?</p>;
  return (
    <>
      <p><strong>Correcting.</strong> You {was}. Choose again to change that.</p>
      <p><button onClick={() => session.back()}><kbd>Esc</kbd> Leave it as it is</button></p>
    </>
  );
}

function Guess({ shown }: { shown: Shown }) {
  const { guess } = useStore(settings);
  const predicted = shown.suggestion?.predicted ?? null;
  const confidence = shown.suggestion?.confidence ?? null;
  if (!guess || predicted === null) return null;
  return (
    <div class="guess" data-part="guess">
      <p>The model’s guess: <strong>{predicted}</strong>{confidence !== null && <span class="quiet figures"> · {share(confidence)} sure</span>}</p>
      {confidence !== null && <span class="bar" aria-hidden="true"><span style={{ width: `${Math.round(100 * confidence)}%` }} /></span>}
    </div>
  );
}

function Fresh({ unknown, answer, ready }: { unknown: number; answer: SuggestAnswer; ready: boolean }) {
  if (unknown > 0) {
    return <p class="small warn-words" data-part="fresh">Chosen before your last {unknown === 1 ? "label" : `${unknown} labels`}.</p>;
  }
  const by = answer.strategy !== "random" ? "Chosen with every label so far in mind." : ready ? "Drawn by chance." : "Drawn by chance: there is no model yet.";
  return <p class="small quiet" data-part="fresh">{by}</p>;
}

function Why({ session, shown }: { session: Session; shown: Shown }) {
  const { suggestion, answer } = shown;
  if (suggestion === null || answer === null) return null;
  const moved = suggestion.why.filter((one) => one.item !== shown.item && one.change > 0).slice(0, WHY);
  const most = Math.max(...moved.map((one) => one.change), Number.MIN_VALUE);
  return (
    <div class="why">
      {moved.length > 0 && (
        <>
          <h2>Why this one</h2>
          <p class="small quiet">Its label would move the predictions of these most:</p>
          <ul>
            {moved.map((one) => (
              <li key={one.item} title={`${one.item}: its outputs would move by ${figure(one.change)}`}>
                <ItemPicture project={session.project} item={one.item} size={REASON} />
                <span class="bar" aria-hidden="true"><span style={{ width: `${Math.round((100 * one.change) / most)}%` }} /></span>
              </li>
            ))}
          </ul>
        </>
      )}
      <details class="small quiet">
        <summary>How it was chosen</summary>
        <p>
          {answer.strategy}: score {figure(suggestion.score)}, the best of {counted(answer.candidates, "candidate")}.
          {answer.reason && ` ${answer.reason[0]?.toUpperCase() ?? ""}${answer.reason.slice(1)}.`}
        </p>
      </details>
    </div>
  );
}
