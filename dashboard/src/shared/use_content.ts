/** Of what kind an item is, for places that lay out texts unlike pictures. */

import { useEffect, useState } from "preact/hooks";
import { content, type Content } from "./contents";

/** The content of an item once it is there; null where it cannot be had. */
export function useContent(project: string, item: string): Content | null | undefined {
  const [found, setFound] = useState<{ of: string; content: Content | null } | undefined>(undefined);
  const of = `${project} ${item}`;
  useEffect(() => {
    let here = true;
    const told = (one: Content | null): void => void (here && setFound({ of, content: one }));
    content(project, item).then(told, () => told(null));
    return () => {
      here = false;
    };
  }, [of]);
  return found?.of === of ? found.content : undefined;
}
