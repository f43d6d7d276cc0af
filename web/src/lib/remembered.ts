// A setting that the browser remembers.

import { effect, type Signal, signal } from "@preact/signals";

/** A signal kept in local storage; `check` turns whatever was stored into a value that is valid. */
export function remembered<T>(name: string, initial: T, check: (stored: unknown) => T): Signal<T> {
  const key = `fathom.${name}`;
  const value = signal(read());
  let first = true;
  effect(() => {
    const now = value.value;
    if (first) {
      first = false;
      return;
    }
    try {
      localStorage.setItem(key, JSON.stringify(now));
    } catch {
      // Then it lasts as long as the page.
    }
  });
  return value;

  function read(): T {
    try {
      const stored = localStorage.getItem(key);
      return stored === null ? initial : check(JSON.parse(stored));
    } catch {
      return initial;
    }
  }
}
