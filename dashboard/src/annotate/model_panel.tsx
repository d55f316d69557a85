/** How the model stands, what the last label did to it, and what it takes a sample of the pool for. */

import { count, counted, duration, share } from "../shared/format";
import { ItemPicture } from "../shared/item";
import { Chart } from "./chart";
import type { ModelState, Seen } from "./model";
import type { Point } from "./service";
import type { Session } from "./session";

/** Names up to so long stand on a picture that changed. */
const MARK = 3;

export function ModelPanel({ session }: { session: Session }) {
  const model = session.model.state;
  const { project, job } = model;
  if (project === null) return null;
  return (
    <section class="panel model" aria-labelledby="model-title">
      <h2 id="model-title">The model</h2>
      {job !== null && <Preparing model={model} />}
      {!session.model.ready && job === null && <NoModel session={session} />}
      {model.jobProblem !== null && <p class="notice bad" role="alert">{model.jobProblem}</p>}
      {session.model.ready && <Standing model={model} />}
      {job === null && session.model.ready && <Retrain session={session} />}
      {model.sample.length > 0 && <Sample session={session} />}
    </section>
  );
}

function NoModel({ session }: { session: Session }) {
  const { project } = session.model.state;
  const labels = project?.labels ?? 0;
  const useful = 2 * (project?.classes.length ?? 0);
  return (
    <div class="no-model">
      <p>There is no model yet, and items are drawn by chance. {labels < useful && `From about ${useful} labels on, two for each class, one is worth training.`}</p>
      <p><button class={labels >= useful ? "main" : ""} disabled={labels === 0} onClick={() => void session.model.train()}>Train a model on {counted(labels, "label")}</button></p>
      {labels === 0 && <p class="small quiet">Label a few items first.</p>}
    </div>
  );
}

function Preparing({ model }: { model: ModelState }) {
  const { job } = model;
  if (job === null) return null;
  const { done, total, unit } = job.progress;
  const words = job.status === "queued" ? "waiting for a worker" : job.stage || "at work";
  return (
    <div class="preparing" data-part="preparing">
      <p>{job.kind === "train" ? "A model is being trained" : "The model is being prepared"}: <span class="quiet">{words}</span></p>
      <progress aria-label="Progress" max={total > 0 ? total : undefined} value={total > 0 ? done : undefined} />
      <p class="small quiet figures">
        {total > 0 && `${count(done)} of ${count(total)} ${unit}`}
        {job.eta_seconds !== null && ` · about ${duration(job.eta_seconds)} left`}. You can go on labeling meanwhile.
      </p>
    </div>
  );
}

const LOO = (point: Point): number | null => point.leave_one_out_accuracy;
const HELD_OUT = (point: Point): number | null => point.held_out_accuracy ?? null;

function Standing({ model }: { model: ModelState }) {
  const { points, flipped, project } = model;
  const held = project?.held_out_accuracy != null || points.some((point) => HELD_OUT(point) !== null);
  const window = project?.kernel_state ? project.kernel_state.window - project.kernel_state.labeled : 0;
  return (
    <>
      <dl class="tiles figures">
        {held && (
          <Tile
            words="Right on held-out items"
            part="held-out"
            now={last(points, HELD_OUT) ?? project?.held_out_accuracy ?? null}
            step={step(points, HELD_OUT)}
            more="whose classes the model is never told"
          />
        )}
        <Tile
          words="Right on the labels"
          part="loo"
          now={last(points, LOO) ?? project?.leave_one_out_accuracy ?? null}
          step={step(points, LOO)}
          more="each left out in turn; hard ones are asked first, so this may fall"
        />
      </dl>
      {points.length > 1 && <Chart points={points} />}
      <p class="effect" data-part="effect">
        {flipped === null ? "Label an item to see what it does to the model." : <Effect flipped={flipped} candidates={window} />}
      </p>
    </>
  );
}

function Effect({ flipped, candidates }: { flipped: number; candidates: number }) {
  if (flipped === 0) return <>The last label changed <strong>no</strong> prediction.</>;
  const items = Math.max(1, Math.round(flipped * candidates));
  return <>The last label changed <strong>{counted(items, "prediction")}</strong>, {share(flipped)} of the pool.</>;
}

const last = (points: Point[], of: (point: Point) => number | null): number | null => {
  const point = points.findLast((one) => of(one) !== null);
  return point === undefined ? null : of(point);
};

/** By how much a figure moved with the last label that it is known for. */
function step(points: Point[], of: (point: Point) => number | null): number | null {
  const now = points.findLast((point) => of(point) !== null);
  if (now === undefined) return null;
  const before = points.findLast((point) => of(point) !== null && point.label_seq < now.label_seq && point.kernel === now.kernel);
  return before === undefined ? null : (of(now) ?? 0) - (of(before) ?? 0);
}

function Tile({ words, part, now, step, more }: { words: string; part: string; now: number | null; step: number | null; more: string }) {
  const moved = step !== null && Math.abs(step) >= 0.0005;
  return (
    <div class="tile" data-part={part}>
      <dt>{words}</dt>
      <dd class="value">
        {now === null ? "–" : `${(100 * now).toFixed(1)} %`}
        {moved && <span class={step > 0 ? "step up" : "step down"}>{step > 0 ? "▲" : "▼"} {Math.abs(100 * step).toFixed(1)}<span class="hidden"> points {step > 0 ? "up" : "down"}</span></span>}
      </dd>
      <dd class="small quiet more">{more}</dd>
    </div>
  );
}

function Retrain({ session }: { session: Session }) {
  const { project } = session.model.state;
  const at = project?.advice_codes.findIndex((code) => code.startsWith("retrain")) ?? -1;
  if (at < 0) return null;
  return (
    <div class="notice">
      <p class="small">{project?.advice[at]}</p>
      <p><button onClick={() => void session.model.train()}>Train anew</button></p>
    </div>
  );
}

function Sample({ session }: { session: Session }) {
  const { project, sample } = session.model.state;
  const classes = project?.classes ?? [];
  const groups = classes.map((name) => sample.filter((seen) => seen.predicted === name));
  const changed = sample.filter((seen) => seen.before !== null).length;
  return (
    <div class="sample" data-part="sample">
      <h2>How it sees {sample.length} items of the pool</h2>
      <p class="small quiet" data-part="changed">
        {changed === 0 ? "None of them changed with the last label; those that do are marked." : <><strong class="mark">{count(changed)} of them</strong> changed with the last label.</>}
      </p>
      <ul class={classes.length > 5 ? "groups two" : "groups"}>
        {groups.map((group, index) => group.length > 0 && <Group key={classes[index]} session={session} name={classes[index] ?? ""} hue={hueOf(index, classes.length)} group={group} />)}
      </ul>
    </div>
  );
}

function Group({ session, name, hue, group }: { session: Session; name: string; hue: number; group: Seen[] }) {
  return (
    <li class="group" style={{ "--hue": hue }}>
      <h3 title={name}>{name} <span class="quiet small figures">{group.length}</span></h3>
      <ul>
        {group.map((seen) => (
          <li key={seen.item} class={seen.before === null ? "seen" : "seen changed"} title={seen.before === null ? seen.item : `${seen.item}: was ${seen.before}`}>
            <ItemPicture project={session.project} item={seen.item} size={32} />
            {seen.before !== null && <span class={seen.before.length > MARK ? "was long" : "was"}><span class="before">was </span>{seen.before}<span class="arrow" aria-hidden="true">→</span></span>}
          </li>
        ))}
      </ul>
    </li>
  );
}

/** Hues far apart for neighbours. */
const hueOf = (index: number, classes: number): number => (classes <= 12 ? (index * 360) / classes : (index * 137.5) % 360);
