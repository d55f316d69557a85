/** Requests to the service that serves this page, with the key that the person gave, if keys are on. */

import type { components } from "./schema";

export type Schemas = components["schemas"];

/** A refusal of the service: an RFC 9457 problem. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

const STORED = "lookahead-key";

export const key = {
  get: (): string | null => sessionStorage.getItem(STORED),
  set: (value: string): void => sessionStorage.setItem(STORED, value),
  forget: (): void => sessionStorage.removeItem(STORED),
};

/** The address of a path of the interface, wherever the service is mounted. */
export function address(path: string): string {
  return new URL(path.replace(/^\//, ""), new URL(".", location.href)).toString();
}

/** The answer to a request, whatever its status. */
export function send(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const held = key.get();
  if (held !== null) headers.set("Authorization", `Bearer ${held}`);
  return fetch(address(path), { ...init, headers });
}

/** The JSON answer to a request; `more` as `fetch` takes it. Throws Problem, or what `fetch` throws. */
export async function ask<T>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  more: RequestInit = {},
): Promise<T> {
  const init: RequestInit = { ...more, method, headers };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "Content-Type": "application/json" };
  }
  const answer = await send(path, init);
  const read = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  if (!answer.ok) {
    throw new Problem(answer.status, String(read["code"] ?? "unknown"), String(read["detail"] ?? answer.statusText));
  }
  return read as T;
}

export const get = <T>(path: string): Promise<T> => ask<T>("GET", path);
export const post = <T>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T> =>
  ask<T>("POST", path, body, headers);
