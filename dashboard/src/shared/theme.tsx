/** Light, dark, or as the system says. */

import { useEffect, useState } from "preact/hooks";

export type Theme = "auto" | "light" | "dark";
const STORED = "lookahead-theme";
const ALL: Theme[] = ["auto", "light", "dark"];

/** The theme that was chosen on this machine. */
export function chosen(): Theme {
  const held = localStorage.getItem(STORED);
  return ALL.find((one) => one === held) ?? "auto";
}

/** Puts a theme in force, and keeps it. */
export function choose(theme: Theme): void {
  if (theme === "auto") {
    localStorage.removeItem(STORED);
    delete document.documentElement.dataset["theme"];
  } else {
    localStorage.setItem(STORED, theme);
    document.documentElement.dataset["theme"] = theme;
  }
}

export function ThemeChoice() {
  const [theme, setTheme] = useState(chosen);
  useEffect(() => choose(theme), [theme]);
  return (
    <label class="theme">
      <span class="hidden">Colours</span>
      <select value={theme} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
        <option value="auto">Auto</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
  );
}
