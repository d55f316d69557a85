/** Asks for a key where the service wants one. It is kept for this tab only. */

import { useState } from "preact/hooks";
import { key, Problem } from "../api/client";

/** Whether a refusal is mended by another key. */
export const wantsKey = (reason: unknown): boolean => reason instanceof Problem && reason.status === 401;

export function KeyForm({ refused, given }: { refused: Problem; given: () => void }) {
  const [typed, setTyped] = useState("");
  const had = key.get() !== null;
  return (
    <form
      class="panel key-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (typed.trim() === "") return;
        key.set(typed.trim());
        given();
      }}
    >
      <h1>This service asks for a key</h1>
      <p role={had ? "alert" : undefined} class={had ? "notice bad" : "quiet"}>
        {had ? refused.message : "Make one with lookahead keys create, or ask whoever runs this service."}
      </p>
      <label for="key">Key</label>
      <input id="key" type="password" autocomplete="off" spellcheck={false} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      <p class="small quiet">It stays in this tab, and is forgotten when the tab is closed.</p>
      <button class="main" type="submit">Use this key</button>
    </form>
  );
}
