/** The keys, and what can be set. */

import { useEffect, useRef } from "preact/hooks";
import { keysFor } from "./keys";
import { settings, type Settings } from "./settings";
import { useStore } from "./store";

const SWITCHES: [keyof Settings, string, string][] = [
  ["shortcuts", "Keys choose classes", "Off where speech or a switch types by accident; everything can be reached with Tab too."],
  ["guess", "Show the model’s guess", "Without it you are not led by it."],
  ["enterAccepts", "Enter says that the guess is right", "Off at first, so that nothing is accepted by habit."],
  ["atOnce", "Show the next item at once", "Its choice then does not know your last label. Otherwise it takes some tens of milliseconds."],
];

export function Help({ classes, close }: { classes: string[]; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys = keysFor(classes);
  const rows: [string, string][] =
    keys === null
      ? [["a … z", "type a class’s name; Enter takes the first found"], ["1 … 0", "take one of the classes shown, where no name has digits"], ["-", "skip, for you only"], ["_", "skip, for all"], ["Ctrl Z", "undo"]]
      : [...classRows(classes, keys), ["s", "skip, for you only"], ["S", "skip, for all"], ["u", "undo"]];
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close} onClick={(event) => event.target === dialog.current && close()}>
      <form method="dialog">
        <h2 id="help-title">Keys</h2>
        <dl class="keys">
          {[...rows, ["Enter", "accept the model’s guess, if that is on"], ["Esc", "leave a correction"], ["?", "this page"]].map(([key, does]) => (
            <div key={`${key} ${does}`}><dt><kbd>{key}</kbd></dt><dd>{does}</dd></div>
          ))}
        </dl>
        <h2>How this page behaves</h2>
        <Switches />
        <button class="main">Close</button>
      </form>
    </dialog>
  );
}

/** Classes that are named as their keys need no row each. */
function classRows(classes: string[], keys: string[]): [string, string][] {
  const rows = classes.map((name, index): [string, string] => [keys[index] ?? "", name]);
  if (rows.length < 3 || rows.some(([key, name]) => key !== name.toLowerCase())) return rows;
  return [[`${keys[0]} … ${keys.at(-1)}`, "the class of that name"]];
}

function Switches() {
  const state = useStore(settings);
  return (
    <ul class="switches">
      {SWITCHES.map(([name, words, more]) => (
        <li key={name}>
          <label>
            <input type="checkbox" checked={state[name]} onChange={(event) => settings.change({ [name]: event.currentTarget.checked })} />
            <span>{words}<span class="small quiet">{more}</span></span>
          </label>
        </li>
      ))}
    </ul>
  );
}
