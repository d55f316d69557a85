/** The service's advice: how it looks, and what can be done about it here. */

import type { Project } from "./types";

export type AdviceCode = Project["advice_codes"][number];

export interface Advice {
  code: AdviceCode;
  /** A word or three. */
  words: string;
  /** The service's sentence. */
  sentence: string;
  /** What a button here does about it. */
  action: "train" | "label" | null;
}

const WORDS: Record<AdviceCode, [string, Advice["action"]]> = {
  upload_pool: ["no items yet", null],
  upload_checkpoint: ["no network yet", "train"],
  preparing: ["preparing", null],
  few_labels: ["few labels", "label"],
  retrain_labels: ["train anew", "train"],
  retrain_changed: ["train anew", "train"],
  retrain_classes: ["train anew", "train"],
  stop: ["labels change little", null],
  pool_exhausted: ["all done", null],
};

export function advice(project: Pick<Project, "advice" | "advice_codes">): Advice[] {
  return project.advice_codes.map((code, index) => {
    const [words, action] = WORDS[code] ?? [code.replaceAll("_", " "), null];
    return { code, words, sentence: project.advice[index] ?? "", action };
  });
}

/** Each word once; a project with nothing to be said is fine. */
export function codes(project: Pick<Project, "advice" | "advice_codes">): Advice[] {
  const all = advice(project);
  return all.filter((one, index) => all.findIndex((other) => other.words === one.words) === index);
}

export function tone({ code }: Pick<Advice, "code">): "good" | "warn" | "accent" | "" {
  if (code === "stop" || code === "pool_exhausted") return "good";
  if (code === "preparing") return "accent";
  return code.startsWith("retrain") || code.startsWith("upload") ? "warn" : "";
}
