/** What the service advises, and the buttons that follow it. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { post, type Problem } from "../../api/client";
import { count, counted, share } from "../../shared/format";
import { advice, tone, type Advice } from "../advice";
import { asProblem } from "../ask";
import { labelHref } from "../route";
import type { Job, Project } from "../types";
import { Confirm } from "./confirm";
import { ProblemNote } from "./problem";

export function AdvicePanel({ project, training }: { project: Project; training: Job | null }) {
  const [asked, setAsked] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [said, setSaid] = useState("");
  const train = (): void => {
    setProblem(null);
    post<Job>(`/projects/${encodeURIComponent(project.name)}/train`, {}).then(
      () => setSaid("Training has begun."),
      (reason: unknown) => setProblem(asProblem(reason)),
    );
  };
  const all = advice(project);
  const urged = all.some((one) => one.action === "train");
  const empty = project.items === project.held_out;
  return (
    <section class="panel advice" aria-labelledby="advice-title">
      <h2 id="advice-title">What to do</h2>
      {all.length === 0 && <p>{project.labels === 0 ? "Label the first suggestions." : "Go on labeling: nothing stands in the way."}</p>}
      {all.length > 0 && (
        <ul class="sentences">
          {all.map((one) => <li key={one.code} class={tone(one)}>{words(one, project)}</li>)}
        </ul>
      )}
      {!empty && (
        <div class="buttons">
          <a class={urged ? "button" : "button main"} href={labelHref(project.name)}>Label</a>
          <button type="button" class={urged ? "main" : ""} disabled={training !== null} onClick={() => setAsked(true)}>
            {training ? "Training …" : project.checkpoint === null ? "Train a network" : "Train anew"}
          </button>
        </div>
      )}
      {project.stopping?.advised && <p class="small quiet">Predictions can be stable and wrong: look at held-out accuracy before you stop.</p>}
      <Facts project={project} />
      <div role="status" class="hidden">{said}</div>
      <div role="alert">{problem && <ProblemNote problem={problem} what="Training" />}</div>
      <Confirm
        title={project.labels === 0 ? "Train without labels?" : `Train on ${counted(project.labels, "label")}?`}
        words={
          project.labels === 0
            ? "A network keeps its initial weights until there are labels: enough for the first suggestions. Train anew once there are some."
            : "The service trains a network on all labels so far and prepares it. Suggestions go on with the network before until then, and no label is lost."
        }
        yes="Train"
        act={asked ? train : null}
        done={() => setAsked(false)}
      />
    </section>
  );
}

/** The service's sentence; where it speaks to programs, what a person does. */
function words({ code, sentence }: Advice, project: Project): ComponentChildren {
  if (code === "upload_pool") return <>Add items: a folder of pictures, a table or an array.<Command line={`lookahead pool add ${project.name} PATH`} /></>;
  if (code === "upload_checkpoint") {
    const first = project.items === project.held_out ? "Then train" : "Train";
    return `${first} a network here, or upload one of yours: until then suggestions are random.`;
  }
  return sentence;
}

const Command = ({ line }: { line: string }) => <pre tabIndex={0} aria-label="Command">{line}</pre>;

function Facts({ project }: { project: Project }) {
  const { stopping } = project;
  return (
    <dl class="facts small figures">
      <div><dt>Skipped</dt><dd>{count(project.skips)}</dd></div>
      <div><dt>Held by annotators</dt><dd>{count(project.open_suggestions)}</dd></div>
      {project.labels_since_checkpoint !== null && <div><dt>Labels the network has not seen</dt><dd>{count(project.labels_since_checkpoint)}</dd></div>}
      <div><dt>Strategy</dt><dd>{project.defaults.strategy}</dd></div>
      {stopping && (
        <>
          <div>
            <dt>Predictions changed by a label</dt>
            <dd>{small(stopping.changed_per_label)} <span class="quiet">stop below {small(stopping.stop_below)}</span></dd>
          </div>
          <div><dt>Leave-one-out over the last {count(stopping.labels)}</dt><dd>{share(stopping.accuracy_before)} → {share(stopping.accuracy)}</dd></div>
        </>
      )}
    </dl>
  );
}

/** A small share as per cent, with two meaningful digits. */
const small = (value: number): string => `${Number((value * 100).toPrecision(2))} %`;
