"use client";
import { useSearchParams } from "next/navigation";
import { useEffect, useRef } from "react";
import { DUE, hrefWith, readFilters, SORTS, type UrlChanges } from "@/lib/filters";
import { PRIORITIES, STATUSES } from "@/lib/task-values";
import { CrossIcon, SearchIcon } from "./icons";
import { ShallowLink } from "./shallow-link";

const TYPING_MS = 250;

/** What to list, and in which order.  It shows what the URL says, and changes nothing but the URL. */
export function FilterBar() {
  const params = useSearchParams();
  const filters = readFilters(params);

  function change(changes: UrlChanges) {
    // As it is now: the search is changed a moment after it was typed.
    const current = new URLSearchParams(window.location.search);
    window.history.replaceState(null, "", hrefWith(current, changes));
  }

  return (
    <search className="filter-bar">
      <nav className="segments" aria-label="Status">
        {Object.entries({ "": "All", ...STATUSES }).map(([status, label]) => (
          <ShallowLink
            key={status}
            href={hrefWith(params, { status })}
            aria-current={(filters.status ?? "") === status ? "true" : undefined}
          >
            {label}
          </ShallowLink>
        ))}
      </nav>
      <SearchField value={filters.search} onChange={(search) => change({ search })} />
      <div className="selects">
        <Select
          name="Priority"
          none="Any"
          options={PRIORITIES}
          value={filters.priority}
          onChange={(priority) => change({ priority })}
        />
        <Select name="Due" none="Any time" options={DUE} value={filters.due} onChange={(due) => change({ due })} />
        <Select
          name="Sort by"
          options={SORTS}
          value={filters.sort ?? "created_at"}
          onChange={(sort) => change({ sort: sort === "created_at" ? "" : sort })}
        />
      </div>
      {filters.tag.length > 0 && (
        <ul className="tags" aria-label="Only tasks with these tags">
          {filters.tag.map((tag) => (
            <li key={tag} className="tag">
              {tag}
              <ShallowLink
                href={hrefWith(params, { tag: filters.tag.filter((other) => other !== tag) })}
                aria-label={`Remove the filter ${tag}`}
              >
                <CrossIcon />
              </ShallowLink>
            </li>
          ))}
        </ul>
      )}
    </search>
  );
}

function SearchField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  // Follow the URL, for example when somebody goes back, but leave alone what is being typed.
  useEffect(() => {
    if (input.current && input.current !== document.activeElement) input.current.value = value;
  }, [value]);

  function changeSoon(search: string) {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onChange(search), TYPING_MS);
  }

  return (
    <label className="search">
      <SearchIcon />
      <span className="visually-hidden">Search</span>
      <input
        ref={input}
        type="search"
        placeholder="Search"
        maxLength={200}
        defaultValue={value}
        onChange={(event) => changeSoon(event.target.value)}
      />
    </label>
  );
}

type SelectProps = {
  name: string;
  none?: string;
  options: Record<string, string>;
  value: string | undefined;
  onChange: (value: string) => void;
};

function Select({ name, none, options, value, onChange }: SelectProps) {
  return (
    <label>
      {name}
      <select value={value ?? ""} onChange={(event) => onChange(event.target.value)}>
        {none && <option value="">{none}</option>}
        {Object.entries(options).map(([option, label]) => (
          <option key={option} value={option}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}
