/** Server-sent events through fetch, which unlike EventSource can carry a key. */

import { createParser } from "eventsource-parser";
import { send } from "./client";

const RETRY_MS = 2000;
const RETRY_MOST_MS = 30_000;
/** The service says something every 15 seconds: a stream that is silent for longer than this is a dead connection. */
const SILENCE_MS = 45_000;

/** How long to wait before the connection after `failures` ones that failed in a row, in milliseconds. */
export function pause(failures: number, chance = Math.random()): number {
  return Math.min(RETRY_MOST_MS, RETRY_MS * 2 ** Math.max(0, failures - 1)) * (0.75 + chance / 2);
}

/** Where a stream stands: `missing` where the service has none, `refused` where the key does not do. */
export type Connection = "connecting" | "live" | "reconnecting" | "missing" | "refused";

const REFUSALS: Record<number, Connection> = { 401: "refused", 403: "refused", 404: "missing" };

/** Calls `told` with each event of a stream until `stop` is aborted; connects anew whenever the stream ends. */
export async function listen(
  path: string,
  told: (name: string, data: unknown) => void,
  stop: AbortSignal,
  connected: (state: Connection) => void = () => undefined,
): Promise<void> {
  let failures = 0;
  while (!stop.aborted) {
    const silence = new AbortController();
    try {
      const answer = await send(path, { headers: { Accept: "text/event-stream" }, signal: AbortSignal.any([stop, silence.signal]) });
      const refusal = REFUSALS[answer.status];
      if (refusal !== undefined) return connected(refusal);
      if (!answer.ok || answer.body === null) throw new Error(`the stream answers ${answer.status}`);
      connected("live");
      failures = 0;
      await read(answer.body, told, silence);
    } catch {
      failures += 1;
    }
    if (stop.aborted) return;
    connected("reconnecting");
    await new Promise((resume) => setTimeout(resume, pause(failures)));
  }
}

async function read(body: ReadableStream<Uint8Array>, told: (name: string, data: unknown) => void, silence: AbortController): Promise<void> {
  const parser = createParser({ onEvent: (event) => told(event.event ?? "message", JSON.parse(event.data)) });
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const part = await reader.read();
      if (part.done) return;
      parser.feed(part.value);
    }
  } finally {
    clearTimeout(timer);
  }
}
