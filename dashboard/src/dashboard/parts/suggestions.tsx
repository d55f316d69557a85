/** What would be suggested now, as people see it, and what it would teach. */

import { useState } from "preact/hooks";
import { counted, duration, share, short, steady } from "../../shared/format";
import { ItemPicture } from "../../shared/item";
import { useContent } from "../../shared/use_content";
import type { Asked } from "../ask";
import type { Project, SuggestAnswer, Suggestion } from "../types";
import { ProblemNote } from "./problem";

const SHOWN_FIRST = 6;
const WHY_SHOWN = 4;

export function Suggestions({ project, asked }: { project: Project; asked: Asked<SuggestAnswer> }) {
  const { data, problem } = asked;
  const [all, setAll] = useState(false);
  const found = data?.suggestions ?? [];
  const shown = all ? found : found.slice(0, SHOWN_FIRST);
  return (
    <section class="panel" aria-labelledby="suggestions-title">
      <div class="row">
        <h2 id="suggestions-title">Suggested next</h2>
        {data && (
          <p class="small quiet figures">
            <strong>{data.strategy}</strong> · best of {counted(data.candidates, "candidate")} · in {duration(total(data.timings) / 1000)}
          </p>
        )}
      </div>
      {problem && <ProblemNote problem={problem} what="Asking for suggestions" />}
      {data === undefined && problem === null && <p class="quiet later">{waiting(project)}</p>}
      {found.length > 0 && (
        <p class="small quiet note">
          {data?.reason && <>{sentence(data.reason)} </>}
          This is a look only: no item is held for anybody. Below the line, <em>why</em>: the items whose predictions would move most if it got
          the label that is expected, and how far their outputs would move.
        </p>
      )}
      {data && found.length === 0 && <p class="quiet later">{data.reason ? sentence(data.reason) : "There is nothing left to suggest."}</p>}
      <ol class="suggestions">
        {shown.map((one) => <Card key={one.item} project={project.name} suggestion={one} />)}
      </ol>
      {found.length > SHOWN_FIRST && (
        <button type="button" class="plain more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show ${found.length - SHOWN_FIRST} more`}
        </button>
      )}
    </section>
  );
}

function waiting(project: Project): string {
  if (project.items === project.held_out) return "Suggestions come once the project has items.";
  if (project.unlabeled === 0) return "There is nothing left to suggest.";
  return project.kernel_state === null ? "Suggestions come once a network is trained and prepared." : "Looking ahead …";
}

/** A remark of the service as a sentence. */
export function sentence(words: string): string {
  const begun = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

const total = (timings: Record<string, number>): number => Object.values(timings).reduce((sum, one) => sum + one, 0);

function Card({ project, suggestion }: { project: string; suggestion: Suggestion }) {
  const { item, rank, score, predicted, confidence, why, picked_by } = suggestion;
  const content = useContent(project, item);
  const text = content?.kind === "text" && content.text !== null;
  return (
    <li class={text ? "suggestion of-text" : "suggestion"}>
      <div class="seen">{text ? <p class="said">{short(content.text!, 400)}</p> : <ItemPicture project={project} item={item} size={96} alt="" />}</div>
      <div class="told">
        <h3><span class="quiet figures">{rank}<span class="hidden">. </span></span> {item}</h3>
        {predicted !== null && (
          <p class="guess">
            probably <strong>{predicted}</strong>
            {confidence !== null && <span class="quiet figures"> {share(confidence)}</span>}
          </p>
        )}
        {confidence !== null && <Bar part={confidence} />}
        <p class="small quiet figures">score {steady(score)}{picked_by === "random" && <span class="tag">by chance</span>}</p>
      </div>
      {why.length > 0 && (
        <div class="why">
          <p class="small quiet">Its label would move</p>
          {text ? <Texts project={project} why={why} /> : <Pictures project={project} why={why} />}
        </div>
      )}
    </li>
  );
}

type Why = { project: string; why: Suggestion["why"] };

function Pictures({ project, why }: Why) {
  return (
    <ul>
      {why.slice(0, WHY_SHOWN).map((one) => (
        <li key={one.item} title={one.item}>
          <ItemPicture project={project} item={one.item} size={48} alt={one.item} />
          <Bar part={one.change / most(why)} second />
          <span class="small figures"><span class="hidden">by </span>{steady(one.change)}</span>
        </li>
      ))}
    </ul>
  );
}

function Texts({ project, why }: Why) {
  return (
    <ul class="lines">
      {why.slice(0, WHY_SHOWN).map((one) => (
        <li key={one.item} title={one.item}>
          <span class="small figures">{steady(one.change)}</span>
          <Bar part={one.change / most(why)} second />
          <Line project={project} item={one.item} />
        </li>
      ))}
    </ul>
  );
}

function Line({ project, item }: { project: string; item: string }) {
  const content = useContent(project, item);
  return <span class="line small">{content?.text ? short(content.text, 120) : item}</span>;
}

const most = (why: Suggestion["why"]): number => Math.max(...why.map((one) => one.change), Number.MIN_VALUE);

/** A share as a bar; the figure stands beside it. */
function Bar({ part, second = false }: { part: number; second?: boolean }) {
  return <span class={second ? "bar second" : "bar"} aria-hidden="true"><i style={{ width: `${Math.max(0, Math.min(1, part)) * 100}%` }} /></span>;
}
