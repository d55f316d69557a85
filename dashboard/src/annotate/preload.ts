/** Fetches what items look like before they are shown, so that they can be seen without a connection too. */

import { content, pictureAddress, picturePath } from "../shared/contents";

/** How large an item is on the bench, and in the history, in CSS pixels. */
export const LARGE = 340;
export const SMALL = 40;

export async function preload(project: string, item: string): Promise<void> {
  const image = (await content(project, item))?.image;
  if (image == null) return;
  await Promise.all(
    [LARGE, SMALL].map(async (size) => {
      const { address, done } = await pictureAddress(picturePath(image, size));
      const picture = new Image();
      picture.onload = picture.onerror = done;
      picture.src = address;
    }),
  );
}
