"use client";
import { type KeyboardEvent, useRef, useState } from "react";
import { CrossIcon } from "./icons";
import type { ControlProps } from "./task-fields";

/**
 * A field for several tags: Enter adds one, Backspace in the empty field removes the last one.
 *
 * A comma does not end a tag, because it may be a part of it.  The form also gets a tag that was typed but not added.
 */
export function TagInput({ control, values }: { control: ControlProps; values: string[] }) {
  const [tags, setTags] = useState(values);
  const input = useRef<HTMLInputElement>(null);

  function press(event: KeyboardEvent<HTMLInputElement>) {
    const field = event.currentTarget;
    if (event.key === "Enter" && field.value !== "") {
      event.preventDefault();
      if (!tags.includes(field.value)) setTags([...tags, field.value]);
      field.value = "";
    }
    if (event.key === "Backspace" && field.value === "") setTags(tags.slice(0, -1));
  }

  function remove(tag: string) {
    setTags(tags.filter((other) => other !== tag));
    input.current?.focus();
  }

  return (
    <div className="tag-input">
      {tags.map((tag) => (
        <span key={tag} className="tag">
          {tag}
          <input type="hidden" name={control.name} value={tag} />
          <button type="button" aria-label={`Remove the tag ${tag}`} onClick={() => remove(tag)}>
            <CrossIcon />
          </button>
        </span>
      ))}
      <input
        {...control}
        ref={input}
        autoComplete="off"
        enterKeyHint="enter"
        placeholder={tags.length ? undefined : "Press Enter after each tag"}
        onKeyDown={press}
      />
    </div>
  );
}
