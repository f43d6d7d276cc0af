// The language in use.

import { computed, signal } from "@preact/signals";
import { remembered } from "../lib/remembered";
import { en, type Strings } from "./en";
import { zh } from "./zh";

export const LANGUAGES = { en: "English", zh: "简体中文" } as const;
export type Language = keyof typeof LANGUAGES;

const dictionaries: Record<Language, Strings> = { en, zh };

/** What the browser asks for, among what there is. */
export function preferred(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const [language] = tag.toLowerCase().split("-");
    if (language === "zh" || language === "en") return language;
  }
  return "en";
}

/** What was picked here; null follows the browser. */
export const picked = remembered<Language | null>("language", null, (v) => (v === "en" || v === "zh" ? v : null));
const browser = signal<Language>(typeof navigator === "undefined" ? "en" : preferred(navigator.languages));

export const language = computed<Language>(() => picked.value ?? browser.value);
export const locale = computed(() => (language.value === "zh" ? "zh-CN" : "en-GB"));

/** The strings to show now. */
export const t = (): Strings => dictionaries[language.value];
