/** Answers of the interface as the dashboard reads them. */

import type { Schemas } from "../api/client";

export type Project = Schemas["Project"];
export type Job = Schemas["Job"];
export type CurvePoint = Schemas["CurvePoint"];
export type Suggestion = Schemas["Suggestion"];
export type SuggestAnswer = Schemas["SuggestAnswer"];
export type Workers = Schemas["Workers"];
export type Worker = Schemas["Worker"];
export type Warm = Schemas["WarmProject"];
export type Queue = Schemas["Queue"];
export type Latency = Schemas["Latency"];
export type Diagnostics = Schemas["Diagnostics"];
export type Scores = Schemas["Scores"];

/** What moved in a project: what is shown of it is asked for anew. */
export interface Mark {
  project: string;
  label_seq: number;
  pool_version: number;
  kernel: string | null;
  applied_seq: number | null;
  open_suggestions: number;
}
