// Numbers, sizes, times and amounts as people read them.

import type { Money } from "./money";

export function count(value: number, locale: string): string {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: 0 }).format(value);
}

/** 1,234 → 1.2K; for places without room. */
export function compact(value: number, locale: string): string {
  if (value < 1000) return count(value, locale);
  return new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export function bytes(value: number, locale: string): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 ? 1 : 0;
  return `${new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value)} ${units[unit]}`;
}

/** Milliseconds as seconds or minutes. */
export function duration(ms: number, locale: string): string {
  const seconds = ms / 1000;
  const show = (value: number, unit: string, digits: number) =>
    new Intl.NumberFormat(locale, {
      style: "unit",
      unit,
      unitDisplay: "short",
      maximumFractionDigits: digits,
    }).format(value);
  if (seconds < 10) return show(seconds, "second", 1);
  if (seconds < 60) return show(seconds, "second", 0);
  const minutes = Math.floor(seconds / 60);
  return `${show(minutes, "minute", 0)} ${show(Math.floor(seconds % 60), "second", 0)}`;
}

/** Two digits that say something, however small the amount. */
export function money(value: Money, locale: string): string {
  const places = value.amount >= 1 || value.amount === 0 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(value.amount)));
  try {
    return new Intl.NumberFormat(locale, {
      style: "currency",
      currency: value.currency,
      minimumFractionDigits: Math.min(places, 2),
      maximumFractionDigits: Math.max(places, 2),
    }).format(value.amount);
  } catch {
    // Not a currency that the browser knows.
    return `${value.amount.toPrecision(2)} ${value.currency}`;
  }
}

export function time(ms: number, locale: string): string {
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(ms);
}

/** Under which heading a conversation stands: days since its last change. */
export function ageGroup(updated: number, now: number): "today" | "yesterday" | "week" | "month" | "older" {
  const day = (ms: number) => {
    const date = new Date(ms);
    return Math.round(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000);
  };
  const days = day(now) - day(updated);
  if (days <= 0) return "today";
  if (days === 1) return "yesterday";
  if (days < 7) return "week";
  if (days < 30) return "month";
  return "older";
}
