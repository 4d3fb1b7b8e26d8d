const DAY_MS = 86_400_000;
const relative = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const sameYear = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const anyYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** Return the beginning of the day that is *days* after *date*'s. */
export function startOfDay(date: Date, days = 0): Date {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days);
}

/** Return a time as one would say it: "Today, 17:00" or "Fri 4 Dec, 09:00". */
export function spoken(time: string, now = new Date()): string {
  const date = new Date(time);
  const days = Math.round((startOfDay(date).getTime() - startOfDay(now).getTime()) / DAY_MS);
  const format = date.getFullYear() === now.getFullYear() ? sameYear : anyYear;
  const day = Math.abs(days) <= 1 ? relative.format(days, "day") : format.format(date);
  return `${day.charAt(0).toUpperCase()}${day.slice(1)}, ${clock.format(date)}`;
}
