// Before anything is painted: light or dark, so that a dark page does not begin white.
try {
  const stored = JSON.parse(localStorage.getItem("fathom.theme") ?? "null") as unknown;
  const dark = stored === "dark" || (stored !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
} catch {
  // Then the page decides once it runs.
}
export {};
