/** Which project, who labels, and then the bench. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { Top } from "../shared/top";
import { Bench } from "./bench";
import { Chooser } from "./chooser";
import { Model } from "./model";
import { NameForm } from "./name_form";
import { Session } from "./session";
import { annotator } from "./settings";

const PLACES = [
  { href: "./", words: "Dashboard" },
  { href: "annotate", words: "Label", here: true },
  { href: "docs", words: "Reference" },
];

export function App() {
  const project = new URLSearchParams(location.search).get("project");
  const [name, setName] = useState(annotator.get);
  useEffect(() => {
    document.title = project ? `Label ${project} · Lookahead` : "Label · Lookahead";
  }, [project]);
  const given = (said: string): void => {
    annotator.set(said);
    setName(said);
  };
  if (!project) return <Framed><Chooser /></Framed>;
  if (!name) return <Framed><NameForm given={given} /></Framed>;
  return <Labeling key={name} project={project} name={name} rename={() => setName(null)} />;
}

function Framed({ children }: { children: preact.ComponentChildren }) {
  return (
    <>
      <Top home="./" places={PLACES} />
      <main class="page narrow" id="content" tabIndex={-1}>{children}</main>
    </>
  );
}

function Labeling({ project, name, rename }: { project: string; name: string; rename: () => void }) {
  const session = useMemo(() => new Session(project, name, new Model(project)), [project, name]);
  useEffect(() => {
    void session.start();
    const leave = (): void => session.leave();
    // A page that the browser kept and shows again holds nothing any more.
    const back = (event: PageTransitionEvent): void => {
      if (event.persisted) location.reload();
    };
    const retry = (): void => session.retry();
    const seen = (): void => {
      if (document.hidden) return;
      void session.hold();
      retry();
    };
    addEventListener("pagehide", leave);
    addEventListener("pageshow", back);
    addEventListener("online", retry);
    addEventListener("focus", retry);
    document.addEventListener("visibilitychange", seen);
    return () => {
      removeEventListener("pagehide", leave);
      removeEventListener("pageshow", back);
      removeEventListener("online", retry);
      removeEventListener("focus", retry);
      document.removeEventListener("visibilitychange", seen);
      session.stop();
      session.model.stop();
    };
  }, [session]);
  return <Bench session={session} places={PLACES} rename={rename} />;
}
