/** What runs where, what waits, and how long things take. */

import { bytes, count, counted, duration } from "../../shared/format";
import { Latencies } from "../charts/latency_chart";
import { useWorkers } from "../data";
import { useLive } from "../live";
import { ProblemNote } from "../parts/problem";
import { projectHref } from "../route";
import type { Queue, Warm, Worker } from "../types";

/** Silent for longer than this, a worker is probably gone. */
const SILENT_SECONDS = 60;

export function WorkersPage() {
  const { data, problem } = useWorkers(useLive());
  return (
    <>
      <div class="head">
        <h1>Workers</h1>
        {data && <p class="quiet figures">{counted(data.workers.length, "worker")}, {count(data.workers.filter((one) => one.state === "busy").length)} busy</p>}
      </div>
      {problem && <ProblemNote problem={problem} what="Asking about workers" />}
      {data === undefined && problem === null && <p class="quiet">Asking about workers …</p>}
      {data && (
        <>
          {data.workers.length === 0 && <p class="notice bad">No worker answers: labels are kept, and suggestions wait until one runs.</p>}
          <ul class="workers">{data.workers.map((worker) => <Card key={worker.name} worker={worker} />)}</ul>
          <div class="grid halves">
            <section class="panel" aria-labelledby="queues-title">
              <h2 id="queues-title">Queues</h2>
              <Queues queues={data.queues} />
            </section>
            <div class="panel"><Latencies latencies={data.latencies} /></div>
          </div>
        </>
      )}
    </>
  );
}

function Card({ worker }: { worker: Worker }) {
  const silent = worker.heartbeat_seconds > SILENT_SECONDS;
  return (
    <li class="panel">
      <div class="row">
        <h2>{worker.name}</h2>
        <span class={`tag ${silent ? "bad" : worker.state === "busy" ? "accent" : "good"}`}>{silent ? "silent" : worker.state}</span>
      </div>
      <dl class="facts figures">
        <div><dt>Serves</dt><dd>{worker.queues.join(", ") || "–"}</dd></div>
        <div><dt>Computes on</dt><dd>{worker.device ?? "–"}</dd></div>
        <div><dt>Machine</dt><dd>{worker.host ?? "–"}</dd></div>
        <div><dt>Memory</dt><dd>{worker.memory_bytes === null ? "–" : bytes(worker.memory_bytes)}</dd></div>
        <div><dt>Last sign of life</dt><dd>{worker.heartbeat_seconds < 10 ? "just now" : `${duration(worker.heartbeat_seconds)} ago`}</dd></div>
        {worker.job !== null && <div><dt>Works on</dt><dd><a href="#/jobs"><code>{worker.job}</code></a></dd></div>}
      </dl>
      <Kept warm={worker.warm} of={worker.name} />
    </li>
  );
}

function Kept({ warm, of }: { warm: Warm[]; of: string }) {
  if (warm.length === 0) return <p class="small quiet later">Keeps no kernel model in memory.</p>;
  return (
    <table class="plain">
      <caption>Kept warm<span class="hidden"> by {of}</span></caption>
      <thead><tr><th scope="col">Project</th><th scope="col" class="number">Labels</th><th scope="col" class="number">Memory</th></tr></thead>
      <tbody>
        {warm.map((one) => (
          <tr key={`${one.project} ${one.kernel}`}>
            <th scope="row"><a href={projectHref(one.project)}>{one.project}</a> <span class="small quiet">{one.kernel}</span></th>
            <td class="number">{count(one.labeled)}</td>
            <td class="number">{bytes(one.bytes)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Queues({ queues }: { queues: Queue[] }) {
  return (
    <table class="plain">
      <caption class="hidden">Queues</caption>
      <thead><tr><th scope="col">Queue</th><th scope="col" class="number">Waiting</th><th scope="col" class="number">Oldest</th><th scope="col" class="number">Workers</th></tr></thead>
      <tbody>
        {queues.map((queue) => (
          <tr key={queue.name}>
            <th scope="row">{queue.name}</th>
            <td class="number">{count(queue.waiting)}</td>
            <td class="number">{queue.waiting === 0 ? "–" : duration(queue.oldest_seconds)}</td>
            <td class="number">{queue.workers === 0 ? <span class="tag bad">none</span> : count(queue.workers)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
