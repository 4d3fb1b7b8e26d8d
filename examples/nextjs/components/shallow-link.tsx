"use client";
import type { ComponentProps, MouseEvent } from "react";

/**
 * A link to the same page with other parameters.
 *
 * next/link would ask the server for the page again; all that changes here is what the browser shows.
 */
export function ShallowLink({ href, ...props }: ComponentProps<"a"> & { href: string }) {
  function follow(event: MouseEvent) {
    // In a new tab, for example.
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    window.history.pushState(null, "", href);
  }
  return <a href={href} onClick={follow} {...props} />;
}
