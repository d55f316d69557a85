/** All projects at a glance. */

import { useState } from "preact/hooks";
import { ago, count, counted, share } from "../../shared/format";
import { useActivity, useProjects } from "../data";
import { useLive } from "../live";
import { Spark } from "../charts/chart";
import { ProblemNote } from "../parts/problem";
import { labelHref, projectHref } from "../route";
import { codes, tone } from "../advice";
import type { Project } from "../types";

const PAGE = 30;

export function Projects() {
  const live = useLive();
  const { data, problem } = useProjects(live);
  const [shown, setShown] = useState(PAGE);
  return (
    <>
      <div class="head">
        <h1>Projects</h1>
        {data && data.length > 0 && <p class="quiet figures">{counted(data.length, "project")}</p>}
      </div>
      {problem && <ProblemNote problem={problem} what="Listing projects" />}
      {data === undefined && problem === null && <p class="quiet">Asking for projects …</p>}
      {data?.length === 0 && <Empty />}
      {data && data.length > 0 && (
        <ul class="projects">
          {data.slice(0, shown).map((project) => <Card key={project.name} project={project} />)}
        </ul>
      )}
      {data && data.length > shown && (
        <button type="button" onClick={() => setShown(shown + PAGE)}>Show {Math.min(PAGE, data.length - shown)} more</button>
      )}
      {data && sample(data) && data.length <= 1 && <Sample name={sample(data)!} />}
    </>
  );
}

/** The project that is there to try things out, if there is one. */
function sample(projects: Project[]): string | null {
  return projects.find((project) => project.name === "digits")?.name ?? null;
}

function Sample({ name }: { name: string }) {
  return (
    <p class="notice">
      <strong>New here?</strong> <a href={labelHref(name)}>Label a few items of {name}</a> in the browser, and watch its learning curve on its
      page. Your own project takes <code>lookahead project create</code>.
    </p>
  );
}

function Empty() {
  return (
    <section class="panel empty" aria-labelledby="empty-title">
      <h2 id="empty-title">Nothing to label yet</h2>
      <p>A project is a pool of items and the classes to sort them into. From nothing to suggestions, on the command line:</p>
      <ol>
        <li>
          <span>Make a project of a folder of pictures, a table or an array. Its classes are those that the folders or the table tell.</span>
          <pre tabIndex={0} aria-label="Command">lookahead pool add pets pictures/ --create</pre>
          <span class="small quiet">Without any label yet: <code>lookahead project create pets cat dog</code>, then the same without <code>--create</code>.</span>
        </li>
        <li><span>Train a first network. It needs no labels to begin with.</span><pre tabIndex={0} aria-label="Command">lookahead train pets</pre></li>
        <li><span>Label what is suggested, on the <a href="annotate">labeling page</a> or in your own tool.</span></li>
      </ol>
      <p class="quiet">This page shows the project as soon as it is there. The whole interface is in the <a href="docs">reference</a>.</p>
    </section>
  );
}

/** Held-out accuracy where it is known: it says more. */
function Accuracy({ project: { held_out_accuracy: held, leave_one_out_accuracy: left } }: { project: Project }) {
  return (
    <p>
      <strong class="figures big">{share(held ?? left)}</strong>
      <span class="small quiet">{held === null ? "leave-one-out" : "held-out"}</span>
    </p>
  );
}

function Card({ project }: { project: Project }) {
  const { data } = useActivity(project);
  const pool = project.items - project.held_out;
  const accuracies = (data?.points ?? [])
    .map((point) => (project.held_out_accuracy === null ? point.leave_one_out_accuracy : point.held_out_accuracy))
    .filter((value) => value !== null);
  const done = project.labels + project.skips;
  return (
    <li class="panel card">
      <div class="name">
        <h2><a href={projectHref(project.name)}>{project.name}</a></h2>
        <p class="small quiet">{counted(project.classes.length, "class", "classes")} · active {ago(data?.last)}</p>
      </div>
      <div class="pool">
        <progress max={pool || 1} value={done} aria-label={`${project.name}: labeled or skipped`} />
        {pool === 0 && <p class="small quiet">No items yet</p>}
        {pool > 0 && <p class="small figures"><strong>{count(project.labels)}</strong> of {count(pool)} labeled{project.skips > 0 && <span class="quiet"> · {count(project.skips)} skipped</span>}</p>}
      </div>
      <div class="accuracy">
        {project.leave_one_out_accuracy === null && <p class="small quiet">No accuracy yet</p>}
        {project.leave_one_out_accuracy !== null && <Accuracy project={project} />}
        <Spark values={accuracies} low={Math.min(0.5, ...accuracies)} />
      </div>
      <ul class="tags">
        {codes(project).map((code) => <li key={code} class={`tag ${tone(code)}`}>{code.words}</li>)}
      </ul>
      {pool > 0 && <a class="button" href={labelHref(project.name)}>Label<span class="hidden"> {project.name}</span></a>}
    </li>
  );
}
