/** What is said where there is no item to show, or where something is wrong. */

import { Problem } from "../api/client";
import { counted } from "../shared/format";
import type { Session } from "./session";
import { gone } from "./session_state";

const REASONS: Record<string, string> = {
  pool_exhausted: "Every item is labeled or skipped: this project is done.",
  annotator_has_done_the_rest: "You have had your say on every item that is left. What remains is for others.",
  others_hold_the_rest: "All items that are left are with other people just now. They come back when somebody leaves; this page looks again by itself.",
  rest_outside_window: "The model’s window has no unlabeled items left; others are outside of it. Train anew to draw another window.",
};

export function Ended({ session }: { session: Session }) {
  const { ended, lost, problem, unsent } = session.state;
  if (problem !== null) return null;
  if (ended !== null) {
    return (
      <section class="panel quiet-stage" aria-label="The item" data-ended={ended}>
        <h2>{ended === "pool_exhausted" ? "Done" : "Nothing to label just now"}</h2>
        <p>{REASONS[ended] ?? `The service gives no item, and says: ${ended}.`}</p>
        <p><button onClick={() => session.again()}>Look again</button></p>
      </section>
    );
  }
  if (lost) {
    return (
      <section class="panel quiet-stage" aria-label="The item">
        <h2>Waiting for the connection</h2>
        <p>
          {unsent > 0 && `${counted(unsent, "label")} kept in this browser: sent as soon as the service answers, and counted once. `}
          This page goes on by itself.
        </p>
        <p><button onClick={() => session.retry()}>Try now</button></p>
      </section>
    );
  }
  return <section class="panel quiet-stage waiting" aria-label="The item" aria-busy="true"><p class="quiet">Choosing an item …</p></section>;
}

export function Problems({ session }: { session: Session }) {
  const { problem, notice, lost, shown } = session.state;
  const { project } = session.model.state;
  const stop = project?.advice_codes.indexOf("stop") ?? -1;
  const known = project !== null && gone(problem);
  return (
    <>
      {known && (
        <div class="notice bad" role="alert">
          <p><strong>This project is gone.</strong> It was deleted, or this key does not see it. What is said here now is not kept.</p>
          <p><a href="annotate">Choose another project</a></p>
        </div>
      )}
      {problem !== null && !known && (
        <div class="notice bad" role="alert">
          <p><strong>{problem instanceof Problem && problem.status === 404 ? "This cannot be found." : "The service refuses this."}</strong> {problem.message}</p>
          <p class="row"><button onClick={() => session.again()}>Try again</button> <a href="annotate">Choose another project</a></p>
        </div>
      )}
      {notice !== null && (
        <div class="notice" role="status">
          <p>{notice}</p>
          <button class="plain" onClick={() => session.dismiss()}>OK</button>
        </div>
      )}
      {lost && shown !== null && (
        <div class="notice warn"><p>The connection is lost. What you say is kept in this browser and sent when it is back: nothing is lost, nothing counts twice.</p></div>
      )}
      {stop >= 0 && <div class="notice" data-part="stop"><p>{project?.advice[stop]}</p></div>}
    </>
  );
}
