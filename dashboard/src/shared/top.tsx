/** The strip at the top of every page: where one is, where one can go, light or dark. */

import type { ComponentChildren } from "preact";
import { ThemeChoice } from "./theme";

export interface Place {
  href: string;
  words: string;
  here?: boolean;
}

export function Mark() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true" class="mark">
      <rect width="32" height="32" rx="8" fill="var(--accent)" />
      <path d="M6 23 C11 23 11 11 16 11 S21 19 26 9" fill="none" stroke="var(--on-accent)" stroke-width="2.6" stroke-linecap="round" />
      <circle cx="16" cy="11" r="3.1" fill="var(--on-accent)" />
    </svg>
  );
}

/** `home` is where the name leads; `children` stand at the end, before the choice of colours. */
export function Top({ home, places, children }: { home: string; places: Place[]; children?: ComponentChildren }) {
  return (
    <>
      <a class="skip" href="#content" onClick={toContent}>Skip to the content</a>
      <header class="top">
        <a class="brand" href={home}><Mark />Lookahead</a>
        <nav aria-label="Pages">
          {places.map(({ href, words, here }) => (
            <a key={href} href={href} aria-current={here ? "page" : undefined}>{words}</a>
          ))}
        </nav>
        <div class="end">{children}<ThemeChoice /></div>
      </header>
    </>
  );
}

// The hash is the router's: the content is focused, not named in the address.
function toContent(event: Event): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}
