/** A question before something that is not undone. */

import { useEffect, useId, useRef } from "preact/hooks";

interface Props {
  title: string;
  words: string;
  yes: string;
  dangerous?: boolean;
  /** Null while it is not asked; then what "yes" does. */
  act: (() => void) | null;
  done: () => void;
}

export function Confirm({ title, words, yes, dangerous = false, act, done }: Props) {
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const here = dialog.current;
    if (here === null) return;
    if (act !== null && !here.open) here.showModal();
    if (act === null && here.open) here.close();
  }, [act]);
  return (
    <dialog ref={dialog} aria-labelledby={`${id}-title`} aria-describedby={`${id}-words`} onClose={done}>
      <h2 id={`${id}-title`}>{title}</h2>
      <p id={`${id}-words`}>{words}</p>
      <div class="buttons">
        <button type="button" onClick={() => dialog.current?.close()}>Back</button>
        <button
          type="button"
          class={dangerous ? "bad" : "main"}
          onClick={() => {
            act?.();
            dialog.current?.close();
          }}
        >
          {yes}
        </button>
      </div>
    </dialog>
  );
}
