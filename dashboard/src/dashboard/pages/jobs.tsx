/** All jobs, newest first. */

import { useState } from "preact/hooks";
import { counted } from "../../shared/format";
import { useJobs } from "../data";
import { long, over, useLive } from "../live";
import { JobsTable } from "../parts/jobs_table";
import { ProblemNote } from "../parts/problem";

const PAGE = 40;

export function Jobs() {
  const live = useLive();
  const [all, setAll] = useState(false);
  const [shown, setShown] = useState(PAGE);
  const { data, problem } = useJobs(live, null, all);
  const found = (data ?? []).filter((job) => all || long(job));
  const open = found.filter((job) => !over(job));
  const ended = found.filter(over);
  return (
    <>
      <div class="head">
        <h1>Jobs</h1>
        <p class="quiet figures">{counted(open.length, "job")} at work or waiting</p>
        <label class="choice"><input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />Suggestions and predictions too</label>
      </div>
      {problem && <ProblemNote problem={problem} what="Listing jobs" />}
      <section class="panel" aria-labelledby="open-title">
        <h2 id="open-title">At work</h2>
        {open.length === 0 && <p class="quiet later">{data === undefined ? "Asking for jobs …" : "No job runs or waits."}</p>}
        {open.length > 0 && <JobsTable jobs={open} withProject of="Jobs that run or wait" />}
      </section>
      <section class="panel" aria-labelledby="ended-title">
        <h2 id="ended-title">Ended</h2>
        {ended.length === 0 && <p class="quiet later">None yet.</p>}
        {ended.length > 0 && <JobsTable jobs={ended.slice(0, shown)} withProject of="Jobs that have ended" />}
        {ended.length > shown && <button type="button" onClick={() => setShown(shown + PAGE)}>Show more</button>}
      </section>
    </>
  );
}
