// Light or dark: as the system, or as picked.

import { effect, signal } from "@preact/signals";
import { remembered } from "../lib/remembered";
import { language } from "../strings";

export type Theme = "system" | "light" | "dark";

export const theme = remembered<Theme>("theme", "system", (v) => (v === "light" || v === "dark" ? v : "system"));

const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", () => {
  systemDark.value = system.matches;
});

export const isDark = () => (theme.value === "system" ? systemDark.value : theme.value === "dark");

/** Keeps the document as the settings say. */
export function followSettings(): void {
  effect(() => {
    document.documentElement.dataset["theme"] = isDark() ? "dark" : "light";
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", isDark() ? "#17181b" : "#ffffff");
  });
  effect(() => {
    document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en";
  });
}
