/** The labeling bench: the item, its classes, the keys, and the model beside them. */

import { useEffect, useRef, useState } from "preact/hooks";
import { count, counted } from "../shared/format";
import { KeyForm, wantsKey } from "../shared/key_form";
import { Top, type Place } from "../shared/top";
import { Choices } from "./choices";
import { Help } from "./help";
import { History } from "./history";
import { meaning } from "./keys";
import { ModelPanel } from "./model_panel";
import type { Session } from "./session";
import { gone } from "./session_state";
import { settings } from "./settings";
import { Stage } from "./stage";
import { Ended, Problems } from "./states";
import { useStore } from "./store";

interface Props {
  session: Session;
  places: Place[];
  rename: () => void;
}

export function Bench({ session, places, rename }: Props) {
  const state = useStore(session);
  const model = useStore(session.model);
  const { shortcuts, enterAccepts } = useStore(settings);
  const [typed, setTyped] = useState("");
  const [help, setHelp] = useState(false);
  const classes = model.project?.classes ?? [];
  const ready = session.model.ready;
  const wasReady = useRef<boolean | null>(null);
  useEffect(() => {
    if (wasReady.current === false && ready) session.modelCame();
    if (model.project !== null) wasReady.current = ready;
  }, [ready, model.project === null]);

  const choose = (index: number): void => {
    const name = classes[index];
    setTyped("");
    if (name !== undefined) session.label(name);
  };

  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (ignored(event, shortcuts)) return;
      const means = meaning(event, classes, typed);
      if (means === null) return;
      const guess = state.shown?.suggestion?.predicted ?? null;
      if (means.does === "accept" && (!enterAccepts || guess === null)) return;
      event.preventDefault();
      if (means.does === "class") choose(means.index);
      else if (means.does === "accept") choose(classes.indexOf(guess ?? ""));
      else if (means.does === "type") setTyped(means.typed);
      else if (means.does === "skip") session.skip(means.own);
      else if (means.does === "undo") session.undo();
      else if (means.does === "back") session.back();
      else setHelp(true);
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  });

  if (state.problem !== null && wantsKey(state.problem)) {
    return (
      <>
        <Top home="./" places={places} />
        <main class="page" id="content" tabIndex={-1}><KeyForm refused={state.problem} given={() => session.again()} /></main>
      </>
    );
  }
  return (
    <>
      <Top home={`./#/projects/${encodeURIComponent(session.project)}`} places={places}>
        <button class="plain who" onClick={rename} title="Label under another name">
          <span class="quiet"><span class="hidden">You label </span>as</span> <span class="name">{session.annotator}</span>
        </button>
      </Top>
      <main class="page bench" id="content" tabIndex={-1}>
        <div class="work">
          <Head session={session} help={() => setHelp(true)} />
          <Problems session={session} />
          {state.shown !== null ? <Stage session={session} shown={state.shown} /> : <Ended session={session} />}
          {classes.length > 0 && !gone(state.problem) && (
            <Choices session={session} classes={classes} typed={typed} type={setTyped} choose={choose} />
          )}
        </div>
        {model.project !== null && <ModelPanel session={session} />}
        {model.project !== null && <History session={session} />}
      </main>
      <p class="hidden" role="status">{state.said}</p>
      {help && <Help classes={classes} close={() => setHelp(false)} />}
    </>
  );
}

function ignored(event: KeyboardEvent, shortcuts: boolean): boolean {
  const target = event.target as HTMLElement | null;
  if (event.defaultPrevented || event.repeat || event.isComposing || document.querySelector("dialog[open]")) return true;
  if (target?.closest("input, textarea, select")) {
    // In the field that finds classes, these two keys are the bench's.
    return !(target.id === "find" && (event.key === "Enter" || event.key === "Escape"));
  }
  if ((event.key === "Enter" || event.key === " ") && target?.closest("button, a, summary")) return true;
  return !shortcuts && event.key !== "Escape";
}

function Head({ session, help }: { session: Session; help: () => void }) {
  const { lost, unsent, history } = session.state;
  const { project } = session.model.state;
  const done = history.filter((entry) => entry.label !== null && !entry.undone && entry.state !== "refused").length;
  const pool = project === null ? 0 : project.items - project.held_out;
  return (
    <header class="head">
      <h1>Label {session.project}</h1>
      <p class="quiet small figures" data-part="progress">
        {project !== null && `${count(project.labels)} of ${count(pool)} labeled`}
        {done > 0 && ` · ${done} by you`}
      </p>
      <span class="end">
        <Kept lost={lost} unsent={unsent} any={history.length > 0} />
        <button class="plain" onClick={help}><kbd>?</kbd> <span class="wide">Keys</span><span class="phone">Settings</span></button>
      </span>
    </header>
  );
}

function Kept({ lost, unsent, any }: { lost: boolean; unsent: number; any: boolean }) {
  if (lost) {
    const words = unsent === 0 ? "Offline" : `Offline · ${counted(unsent, "label")} kept`;
    return <span class="tag warn" data-part="kept">{words}</span>;
  }
  // A label that is on its way for some milliseconds is not worth a flicker.
  if (unsent > 1) return <span class="tag" data-part="kept">Sending {counted(unsent, "label")}</span>;
  return any ? <span class="tag good" data-part="kept">{unsent === 0 ? "All saved" : "Saving"}</span> : null;
}
