/** The dashboard: which page, with which key, and whether it is live. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Problem } from "../api/client";
import type { Connection } from "../api/events";
import { KeyForm } from "../shared/key_form";
import { Top } from "../shared/top";
import { RefusedContext } from "./ask";
import { LiveContext, useStream } from "./live";
import { Jobs } from "./pages/jobs";
import { ProjectPage } from "./pages/project";
import { Projects } from "./pages/projects";
import { WorkersPage } from "./pages/workers";
import { title, useRoute, type Route } from "./route";

export function App() {
  const route = useRoute();
  const [keys, setKeys] = useState(0);
  const [refused, setRefused] = useState<Problem | null>(null);
  const live = useStream(keys);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const here = title(route);
  useEffect(() => {
    document.title = `${here} · Lookahead`;
    if (first.current) {
      first.current = false;
      return;
    }
    // Another page: begin at its top, also for those who hear it.
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [here, route.page]);
  const places = [
    { href: "#/", words: "Projects", here: route.page === "projects" },
    { href: "#/jobs", words: "Jobs", here: route.page === "jobs" },
    { href: "#/workers", words: "Workers", here: route.page === "workers" },
    { href: "docs", words: "Reference" },
  ];
  return (
    <LiveContext.Provider value={live}>
      <RefusedContext.Provider value={setRefused}>
        <Top home="#/" places={places}><LiveState connection={live.connection} /></Top>
        <main id="content" class="page" tabIndex={-1} ref={main} aria-label={here}>
          {refused ? (
            <KeyForm
              refused={refused}
              given={() => {
                setRefused(null);
                setKeys(keys + 1);
              }}
            />
          ) : (
            <Page key={keys} route={route} />
          )}
        </main>
        <div class="hidden" role="status">{live.said}</div>
      </RefusedContext.Provider>
    </LiveContext.Provider>
  );
}

function Page({ route }: { route: Route }) {
  switch (route.page) {
    case "projects":
      return <Projects />;
    case "project":
      return <ProjectPage key={route.name} name={route.name} />;
    case "jobs":
      return <Jobs />;
    case "workers":
      return <WorkersPage />;
    case "unknown":
      return <><h1>No such page</h1><p class="later"><a href="#/">All projects</a></p></>;
  }
}

const STATES: Record<Connection, [string, string]> = {
  connecting: ["connecting", "Connecting"],
  live: ["live", "Live"],
  reconnecting: ["reconnecting", "Reconnecting"],
  missing: ["still", "Every 10 s"],
  refused: ["still", "Not live"],
};

function LiveState({ connection }: { connection: Connection }) {
  const [kind, words] = STATES[connection];
  return <span class={`connection ${kind}`} role="status"><i aria-hidden="true" />{words}</span>;
}
