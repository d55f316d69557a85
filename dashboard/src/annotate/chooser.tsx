/** The projects that can be labeled. */

import { useEffect, useState } from "preact/hooks";
import { get, Problem, type Schemas } from "../api/client";
import { counted, count, share } from "../shared/format";
import { KeyForm, wantsKey } from "../shared/key_form";
import type { Project } from "./service";

const MOST = 1000;

export function Chooser() {
  const [projects, setProjects] = useState<Project[] | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const load = (): void => {
    setProblem(null);
    all().then(setProjects, setProblem);
  };
  useEffect(load, []);
  if (wantsKey(problem)) return <KeyForm refused={problem as Problem} given={load} />;
  if (problem !== null) {
    return (
      <div class="notice bad" role="alert">
        <h1>The projects cannot be shown</h1>
        <p>{problem instanceof Problem ? problem.message : "The service cannot be reached."}</p>
        <p><button onClick={load}>Try again</button></p>
      </div>
    );
  }
  return (
    <>
      <h1>What do you want to label?</h1>
      {projects === null && <p class="quiet" role="status">Looking for projects …</p>}
      {projects?.length === 0 && (
        <div class="panel">
          <p>There is no project yet. <code>lookahead sample</code> makes one to try this page with.</p>
        </div>
      )}
      <ul class="projects">{projects?.map((project) => <li key={project.name}><Card project={project} /></li>)}</ul>
    </>
  );
}

/** Throws Problem. */
async function all(): Promise<Project[]> {
  const found: Project[] = [];
  for (let after: string | null = ""; after !== null && found.length < MOST; ) {
    const page: Schemas["ProjectList"] = await get(`/projects?after=${encodeURIComponent(after)}`);
    found.push(...page.projects);
    after = page.next;
  }
  return found;
}

function Card({ project }: { project: Project }) {
  const { name, labels, unlabeled, classes, held_out_accuracy: held, leave_one_out_accuracy: left } = project;
  const right = held != null ? `${share(held)} right on held-out items` : left != null ? `${share(left)} right on the labels` : "no model yet";
  const pool = project.items - project.held_out;
  return (
    <a class="panel project" href={`annotate?project=${encodeURIComponent(name)}`}>
      <strong>{name}</strong>
      <span class="quiet small figures">
        {counted(classes.length, "class", "classes")} · {counted(labels, "label")} · {count(unlabeled)} to go · {right}
      </span>
      <span class="bar" aria-hidden="true"><span style={{ width: `${pool === 0 ? 0 : (100 * labels) / pool}%` }} /></span>
    </a>
  );
}
