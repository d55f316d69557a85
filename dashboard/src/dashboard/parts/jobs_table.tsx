/** Jobs with how far they are, and the way to stop them. */

import { useState } from "preact/hooks";
import { post } from "../../api/client";
import { ago, count, counted, duration } from "../../shared/format";
import { asProblem } from "../ask";
import { kindWords, over } from "../live";
import { projectHref } from "../route";
import type { Job } from "../types";
import type { Problem } from "../../api/client";
import { Confirm } from "./confirm";
import { ProblemNote } from "./problem";

export function JobsTable({ jobs, withProject, of }: { jobs: Job[]; withProject: boolean; of: string }) {
  const [asked, setAsked] = useState<Job | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const cancel = (job: Job): void => {
    setProblem(null);
    post(`/jobs/${job.id}/cancel`).catch((reason: unknown) => setProblem(asProblem(reason)));
  };
  return (
    <>
      <div role="alert">{problem && <ProblemNote problem={problem} what="Cancelling" />}</div>
      <table class="jobs">
        <caption class="hidden">{of}</caption>
        <thead>
          <tr>
            <th scope="col">Work</th>
            {withProject && <th scope="col">Project</th>}
            <th scope="col">State</th>
            <th scope="col">Progress</th>
            <th scope="col">Asked for</th>
            <th scope="col"><span class="hidden">Cancel</span></th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id}>
              <th scope="row">
                {kindWords(job.kind)}
                <span class="small quiet id">{job.id}</span>
              </th>
              {withProject && <td data-label="Project"><a href={projectHref(job.project)}>{job.project}</a></td>}
              <td data-label="State"><State job={job} /></td>
              <td data-label="Progress"><Progress job={job} /></td>
              <td data-label="Asked for" class="small figures">{times(job)}</td>
              <td class="act">
                {!over(job) && (
                  <button type="button" onClick={() => setAsked(job)}>
                    Cancel<span class="hidden"> {kindWords(job.kind)} for {job.project}</span>
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Confirm
        title={`Cancel ${asked === null ? "" : kindWords(asked.kind).toLowerCase()}?`}
        words={asked === null ? "" : `It stops at its next step, and what it has worked out for ${asked.project} is thrown away. Labels and the network in force stay as they are.`}
        yes="Cancel this job"
        dangerous
        act={asked === null ? null : () => cancel(asked)}
        done={() => setAsked(null)}
      />
    </>
  );
}

const TONES: Record<Job["status"], string> = { queued: "", running: "accent", succeeded: "good", failed: "bad", cancelled: "" };

function State({ job }: { job: Job }) {
  return (
    <>
      <span class={`tag ${TONES[job.status]}`}>{job.status}</span>
      {job.attempt > 1 && <span class="small quiet"> attempt {job.attempt}</span>}
      {job.error && <p class="small error">{job.error.detail} <code>{job.error.code}</code></p>}
    </>
  );
}

function Progress({ job }: { job: Job }) {
  const { done, total, unit } = job.progress;
  if (job.status === "queued") {
    const ahead = job.queue_position;
    return <span class="small quiet">{ahead === null || ahead === undefined ? "waiting" : ahead === 0 ? "next in its queue" : `${counted(ahead, "job")} ahead`}</span>;
  }
  if (job.status !== "running") return <span class="small quiet figures">{took(job)}</span>;
  return (
    <div class="going">
      <progress aria-label={`${kindWords(job.kind)} for ${job.project}: ${job.stage}`} {...(total > 0 ? { max: total, value: done } : {})} />
      <p class="small figures">
        {job.stage}
        {total > 0 && <span class="quiet"> · {count(done)} of {count(total)} {unit}</span>}
        {job.eta_seconds !== null && <span class="quiet"> · {duration(job.eta_seconds)} left</span>}
      </p>
    </div>
  );
}

function took(job: Job): string {
  if (job.started_at === null || job.finished_at === null) return "–";
  return `took ${duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)}`;
}

const times = (job: Job) => <time dateTime={job.created_at} title={new Date(job.created_at).toLocaleString()}>{ago(job.created_at)}</time>;
