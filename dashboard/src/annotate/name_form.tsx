/** Asks once who labels. */

import { useState } from "preact/hooks";

export function NameForm({ given }: { given: (name: string) => void }) {
  const [typed, setTyped] = useState("");
  const name = typed.trim();
  return (
    <form
      class="panel ask"
      onSubmit={(event) => {
        event.preventDefault();
        if (name !== "") given(name);
      }}
    >
      <h1>Who labels here?</h1>
      <p class="quiet">
        Your name is kept with every label, and items that you look at are kept from others. Two people need two names.
      </p>
      <label for="name">Your name</label>
      <input id="name" autocomplete="nickname" maxLength={80} autofocus value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      <button class="main" type="submit" disabled={name === ""}>Begin</button>
    </form>
  );
}
