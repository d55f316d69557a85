/** The classes, each with its key, and what else can be said of an item. */

import { useEffect, useRef, useState } from "preact/hooks";
import { digitsChoose, keysFor, matching } from "./keys";
import type { Session } from "./session";
import { settings } from "./settings";
import { useStore } from "./store";

const SHOWN = 40;
const FLASH_MS = 350;

interface Props {
  session: Session;
  classes: string[];
  typed: string;
  type: (typed: string) => void;
  choose: (index: number) => void;
}

export function Choices({ session, classes, typed, type, choose }: Props) {
  const { shown, busy, history } = session.state;
  const { guess, shortcuts } = useStore(settings);
  const keys = keysFor(classes);
  const found = keys === null ? matching(classes, typed) : classes.map((_, index) => index);
  const numbered = keys === null && digitsChoose(classes);
  const keyOf = (index: number, place: number): string => keys?.[index] ?? (numbered && place < 10 ? `${(place + 1) % 10}` : "");
  const predicted = guess ? shown?.suggestion?.predicted : null;
  const before = shown?.entry?.undone === false ? shown.entry.label : null;
  const flashed = useFlash(history[0]?.id, history[0]?.label ?? null);
  const off = shown === null || busy;
  return (
    <section class={shown === null ? "choices off" : "choices"} aria-label="Classes">
      {keys === null && <Find typed={typed} type={type} found={found.length} />}
      <ul class={keys === null ? "many" : classes.length > 6 ? "some" : "few"}>
        {found.slice(0, SHOWN).map((index, place) => {
          const name = classes[index] ?? "";
          const key = keyOf(index, place);
          const kinds = [name === predicted && "guessed", flashed === name && "flashed", keys === null && typed !== "" && place === 0 && "first"];
          return (
            <li key={name}>
              <button
                class={`class ${kinds.filter(Boolean).join(" ")}`}
                aria-disabled={off}
                aria-pressed={before === name ? true : undefined}
                aria-keyshortcuts={shortcuts && key !== "" ? key : undefined}
                data-class={name}
                onClick={() => !off && choose(index)}
              >
                {key !== "" && shortcuts && key !== name.toLowerCase() && <kbd aria-hidden="true">{key}</kbd>}
                <span class="words">{name}</span>
                {name === predicted && <span class="guess-mark" title="The model’s guess"><span class="hidden">, the model’s </span><span class="word">guess</span></span>}
              </button>
            </li>
          );
        })}
      </ul>
      {found.length > SHOWN && <p class="small quiet">and {found.length - SHOWN} more: type to find them</p>}
      <div class="else">
        <button aria-disabled={off} onClick={() => !off && session.skip(true)}>
          {shortcuts && <kbd aria-hidden="true">{keys === null ? "-" : "s"}</kbd>} Skip<span class="hidden"> for me</span>
        </button>
        <button aria-disabled={off} onClick={() => !off && session.skip(false)}>
          {shortcuts && <kbd aria-hidden="true">{keys === null ? "_" : "S"}</kbd>} Skip for all
        </button>
        <button aria-disabled={!history.some((one) => !one.undone && one.state !== "refused")} onClick={() => session.undo()}>
          {shortcuts && <kbd aria-hidden="true">{keys === null ? "Ctrl Z" : "u"}</kbd>} Undo
        </button>
      </div>
    </section>
  );
}

function Find({ typed, type, found }: { typed: string; type: (typed: string) => void; found: number }) {
  return (
    <div class="find">
      <label for="find">Find a class</label>
      <input
        id="find"
        value={typed}
        autocomplete="off"
        spellcheck={false}
        placeholder="type its name, then Enter"
        onInput={(event) => type(event.currentTarget.value)}
      />
      {typed !== "" && <span class="small quiet" role="status">{found === 0 ? "no such class" : found === 1 ? "one class" : `${found} classes`}</span>}
    </div>
  );
}

/** The class that was said last, for a moment. */
function useFlash(id: string | undefined, label: string | null): string | null {
  const [flash, setFlash] = useState<string | null>(null);
  const seen = useRef(id);
  useEffect(() => {
    if (seen.current === id) return;
    seen.current = id;
    setFlash(label);
    const over = setTimeout(() => setFlash(null), FLASH_MS);
    return () => clearTimeout(over);
  }, [id]);
  return flash;
}
