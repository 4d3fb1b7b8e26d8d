/** Return the cursor of the next page, or undefined if there is none. */
export function nextCursor(headers: Headers): string | undefined {
  const reference = /<([^>]*)>; *rel="next"/.exec(headers.get("Link") ?? "")?.[1];
  if (reference === undefined) return undefined;
  return new URL(reference, "http://taskd").searchParams.get("cursor") ?? undefined;
}
