/** The way to delete a project: its name has to be typed. */

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ask, type Problem } from "../../api/client";
import { forget } from "../../shared/contents";
import { counted } from "../../shared/format";
import { newId } from "../../shared/id";
import { asProblem } from "../ask";
import type { Project } from "../types";
import { ProblemNote } from "./problem";

export function DeleteProject({ project }: { project: Project }) {
  const [asked, setAsked] = useState(false);
  return (
    <p class="farewell">
      <button type="button" class="plain small quiet" onClick={() => setAsked(true)}>Delete this project …</button>
      {asked && <Question project={project} done={() => setAsked(false)} />}
    </p>
  );
}

function Question({ project, done }: { project: Project; done: () => void }) {
  const { name } = project;
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  // Sent again after a lost answer, the same request does not hit another project of this name.
  const request = useRef(newId());
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const remove = async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await ask("DELETE", `/projects/${encodeURIComponent(name)}`, undefined, { "Idempotency-Key": request.current });
      forget(name);
      dialog.current?.close();
      location.hash = "#/";
    } catch (reason) {
      setProblem(asProblem(reason));
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby={`${id}-title`} aria-describedby={`${id}-words`} onClose={done}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (typed === name && !busy) void remove();
        }}
      >
        <h2 id={`${id}-title`}>Delete {name}?</h2>
        <p id={`${id}-words`}>
          {counted(project.items, "item")}, {counted(project.labels, "label")} and everybody’s opinions, all checkpoints and jobs
          go with it. It cannot be undone.
        </p>
        <label for={`${id}-name`}>Type <strong>{name}</strong> to delete it</label>
        <input id={`${id}-name`} autocomplete="off" spellcheck={false} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
        <div role="alert">{problem && <ProblemNote problem={problem} what="Deleting" />}</div>
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>Back</button>
          <button type="submit" class="bad" disabled={typed !== name || busy}>Delete this project</button>
        </div>
      </form>
    </dialog>
  );
}
