/** One project: how its labels get on, what comes next, what its kernel model is like. */

import { count, counted, figure, share } from "../../shared/format";
import { Arrivals, Drift, LearningCurve } from "../charts/progress_charts";
import { ClassBalance, ScoreDistribution, Spectrum } from "../charts/model_charts";
import { useCurve, useDiagnostics, useJobs, useProject, useSuggestions } from "../data";
import { long, over, useLive } from "../live";
import { AdvicePanel } from "../parts/advice_panel";
import { DeleteProject } from "../parts/delete_project";
import { JobsTable } from "../parts/jobs_table";
import { ProblemNote } from "../parts/problem";
import { Suggestions } from "../parts/suggestions";
import type { CurvePoint, Diagnostics, Project } from "../types";

const JOBS_SHOWN = 8;

export function ProjectPage({ name }: { name: string }) {
  const live = useLive();
  const { data, problem } = useProject(live, name);
  // What was shown of it until somebody deleted it is not there any more.
  const gone = problem?.status === 404;
  const project = gone ? undefined : data;
  return (
    <>
      <p class="crumbs small"><a href="#/">Projects</a></p>
      <div class="head">
        <h1>{name}</h1>
        {project && <p class="quiet figures">{counted(project.items - project.held_out, "item")} in {counted(project.classes.length, "class", "classes")}</p>}
      </div>
      {problem && !gone && <ProblemNote problem={problem} what={`Showing ${name}`} />}
      {gone && <p class="later" role="alert">{data ? "This project was deleted." : "There is no such project."} <a href="#/">All projects</a></p>}
      {project === undefined && problem === null && <p class="quiet">Asking for {name} …</p>}
      {project && <Shown project={project} />}
    </>
  );
}

function Shown({ project }: { project: Project }) {
  const live = useLive();
  const suggestions = useSuggestions(project);
  const curve = useCurve(project);
  const diagnostics = useDiagnostics(project, suggestions.data?.label_seq ?? -1);
  const jobs = useJobs(live, project.name);
  const work = (jobs.data ?? []).filter(long);
  const training = work.find((job) => job.kind === "train" && !over(job)) ?? null;
  const points = curve.data ?? [];
  const inside = diagnostics.data ?? null;
  return (
    <>
      <Standing project={project} inside={inside} />
      <div class="grid">
        <div class="panel wide">
          {spans(points) ? <LearningCurve points={points} /> : <Later title="Learning curve" words={curveWords(project, curve.data)} />}
          {curve.problem && <ProblemNote problem={curve.problem} what="The learning curve" />}
        </div>
        <AdvicePanel project={project} training={training} />
      </div>
      {work.some((job) => !over(job)) && (
        <section class="panel" aria-labelledby="now-title">
          <h2 id="now-title">At work now</h2>
          <JobsTable jobs={work.filter((job) => !over(job))} withProject={false} of={`Work under way for ${project.name}`} />
        </section>
      )}
      <Suggestions project={project} asked={suggestions} />
      {diagnostics.problem && <ProblemNote problem={diagnostics.problem} what="Diagnostics" />}
      <div class="grid thirds">
        {inside && inside.classes.some((one) => one.labels > 0 || one.predicted !== null) && <div class="panel"><ClassBalance classes={inside.classes} /></div>}
        {spans(points) && <div class="panel"><Drift points={points} /></div>}
        {inside && inside.arrivals.length > 1 && <div class="panel"><Arrivals arrivals={inside.arrivals} /></div>}
        {inside?.scores && <div class="panel"><ScoreDistribution scores={inside.scores} suggestions={suggestions.data?.strategy === inside.scores.strategy ? suggestions.data.suggestions : []} /></div>}
        {inside?.spectrum && <div class="panel"><Spectrum spectrum={inside.spectrum} /></div>}
        <KernelFacts project={project} inside={inside} />
      </div>
      <section class="panel" aria-labelledby="jobs-title">
        <div class="row"><h2 id="jobs-title">Jobs</h2><a class="small" href="#/jobs">Jobs of all projects</a></div>
        {jobs.problem && <ProblemNote problem={jobs.problem} what="Jobs" />}
        {work.length === 0 && jobs.data && <p class="quiet">Nothing has been prepared or trained yet.</p>}
        {work.length > 0 && <JobsTable jobs={work.slice(0, JOBS_SHOWN)} withProject={false} of={`Jobs of ${project.name}`} />}
      </section>
      <DeleteProject project={project} />
    </>
  );
}

/** Whether there is a way to be drawn, and not just a point. */
const spans = (points: CurvePoint[]): boolean => points.length > 1 && points.at(-1)!.labels !== points[0]!.labels;

function curveWords(project: Project, points: CurvePoint[] | undefined): string {
  if (points === undefined) return "Asking for the curve …";
  const last = points.at(-1);
  if (last !== undefined && last.labels > 0) {
    return `Leave-one-out accuracy is ${share(last.leave_one_out_accuracy)} with ${counted(last.labels, "label")}. The next label draws the curve.`;
  }
  return project.checkpoint === null ? "It begins once a network is trained or uploaded." : "It begins with the first labels.";
}

function Later({ title, words }: { title: string; words: string }) {
  return <><h2>{title}</h2><p class="quiet later">{words}</p></>;
}

function Standing({ project, inside }: { project: Project; inside: Diagnostics | null }) {
  const pool = project.items - project.held_out;
  const known = inside?.held_out?.labels;
  return (
    <dl class="standing figures">
      <div class="panel"><dt>Labeled</dt><dd>{count(project.labels)} <span class="quiet small">of {count(pool)}</span></dd></div>
      <div class="panel"><dt>Still to label</dt><dd>{count(project.unlabeled)}</dd></div>
      <div class="panel"><dt>Leave-one-out accuracy</dt><dd>{share(project.leave_one_out_accuracy)}</dd></div>
      <div class="panel">
        <dt>Held-out accuracy</dt>
        <dd>
          {share(project.held_out_accuracy)} <span class="quiet small">{known ? `on ${count(known)} items` : "no held-out labels"}</span>
        </dd>
      </div>
    </dl>
  );
}

function KernelFacts({ project, inside }: { project: Project; inside: Diagnostics | null }) {
  const state = project.kernel_state;
  return (
    <section class="panel" aria-labelledby="kernel-title">
      <h2 id="kernel-title">Kernel model</h2>
      {state === null && <p class="quiet later">None yet: it is made of the network, once there is one.</p>}
      {state && (
        <>
          <dl class="facts figures">
            <div><dt>Condition number</dt><dd>{figure(inside?.condition ?? state.condition)} {conditionTag(inside?.condition ?? state.condition)}</dd></div>
            <div><dt>Ridge</dt><dd>{figure(state.ridge)}</dd></div>
            <div><dt>Jitter</dt><dd>{state.jitter === 0 ? "none" : figure(state.jitter)}</dd></div>
            <div><dt>Labels in it</dt><dd>{count(state.labeled)}</dd></div>
            <div><dt>Current up to label</dt><dd>{count(state.applied_seq)} of {count(project.label_seq)}</dd></div>
            <div><dt>Items in its window</dt><dd>{count(state.window)}</dd></div>
            <div><dt>Predictions changed</dt><dd>{share(state.changed_predictions)}</dd></div>
            <div><dt>Kernel</dt><dd><code>{state.id}</code> <span class="quiet">{project.kernel.kind}</span></dd></div>
            <div><dt>Checkpoint</dt><dd><code>{project.checkpoint ?? "–"}</code></dd></div>
          </dl>
          <p class="small quiet">The condition number says how much rounding the labels' equations magnify; from 1e12 on, few of a float64's digits are left.</p>
        </>
      )}
    </section>
  );
}

function conditionTag(condition: number | null) {
  if (condition === null) return null;
  return condition >= 1e12 ? <span class="tag warn">poor</span> : condition >= 1e9 ? <span class="tag">fair</span> : <span class="tag good">good</span>;
}
