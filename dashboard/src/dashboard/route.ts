/** Which page the address's hash names. */

import { useEffect, useState } from "preact/hooks";

export type Route = { page: "projects" } | { page: "project"; name: string } | { page: "jobs" } | { page: "workers" } | { page: "unknown" };

/** Never throws: an address that makes no sense is the page `unknown`. */
export function parse(hash: string): Route {
  const [first, second, ...rest] = hash.replace(/^#?\/?/, "").replace(/\/$/, "").split("/");
  if (rest.length > 0) return { page: "unknown" };
  if (first === "" || (first === "projects" && second === undefined)) return { page: "projects" };
  if (first === "projects" && second !== undefined) return named(second);
  if ((first === "jobs" || first === "workers") && second === undefined) return { page: first };
  return { page: "unknown" };
}

function named(part: string): Route {
  try {
    return { page: "project", name: decodeURIComponent(part) };
  } catch {
    return { page: "unknown" };
  }
}

export const projectHref = (name: string): string => `#/projects/${encodeURIComponent(name)}`;
export const labelHref = (name: string): string => `annotate?project=${encodeURIComponent(name)}`;

/** The title of a page, for the window and for those who hear it. */
export function title(route: Route): string {
  const titles = { projects: "Projects", jobs: "Jobs", workers: "Workers", unknown: "No such page" };
  return route.page === "project" ? route.name : titles[route.page];
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parse(location.hash));
  useEffect(() => {
    const moved = (): void => setRoute(parse(location.hash));
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return route;
}
