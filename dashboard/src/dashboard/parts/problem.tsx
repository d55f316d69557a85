/** What went wrong, and what would be right. */

import type { Problem } from "../../api/client";

/** The scope that a refusal names, if it is about one. */
export function missingScope(problem: Problem): boolean {
  return problem.status === 403;
}

export function ProblemNote({ problem, what }: { problem: Problem; what: string }) {
  const lead = missingScope(problem) ? `This key may not see or do this (${what}).` : `${what}: that did not work.`;
  return (
    <div class={`notice ${missingScope(problem) ? "warn" : "bad"}`}>
      <p><strong>{lead}</strong></p>
      <p>{problem.message}</p>
      {problem.code !== "unreachable" && <p class="small quiet"><code>{problem.code}</code></p>}
    </div>
  );
}
