// A block of code: highlighted line by line as it comes, with a button that copies it.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../strings";
import { CopyButton } from "../ui/copy-button";
import type { Highlight } from "./highlight";

/** Longer code stays plain; highlighting it would hold up the page. */
const HIGHLIGHT_LENGTH_MAX = 60_000;

let loaded: Highlight | null = null;
let loading: Promise<Highlight> | null = null;

/** The highlighter, fetched when the first code is shown. */
function useHighlight(wanted: boolean): Highlight | null {
  const [highlight, set] = useState(() => loaded);
  useEffect(() => {
    if (highlight || !wanted) return;
    let gone = false;
    loading ??= import("./highlight").then((module) => module.highlight);
    loading
      .then((ready) => {
        loaded = ready;
        if (!gone) set(() => ready);
      })
      .catch(() => {
        loading = null;
      });
    return () => {
      gone = true;
    };
  }, [wanted, highlight]);
  return highlight;
}

export function CodeBlock({ text, language, live }: { text: string; language: string; live: boolean }) {
  const short = text.length <= HIGHLIGHT_LENGTH_MAX;
  const highlight = useHighlight(short && language !== "");
  // Half a line is often highlighted wrongly and then again, so it waits until it is whole.
  const whole = live ? text.lastIndexOf("\n") + 1 : text.length;
  const head = useColoured(highlight, language, short ? text.slice(0, whole) : "");
  const content: ComponentChildren = head ? [head, text.slice(whole)] : text;
  return (
    <div class="code">
      <div class="code-head">
        <span>{language || t().codeBlock}</span>
        <CopyButton text={() => text} label={t().copyCode} />
      </div>
      <pre tabIndex={0}>
        <code>{content}</code>
      </pre>
    </div>
  );
}

/** Coloured text, computed again only when it has changed. */
function useColoured(highlight: Highlight | null, language: string, text: string): ComponentChildren {
  const [last] = useState<{ text: string; by: Highlight | null; tree: ComponentChildren }>(() => ({
    text: "",
    by: null,
    tree: null,
  }));
  if (last.text !== text || last.by !== highlight) {
    last.text = text;
    last.by = highlight;
    last.tree = highlight && text ? highlight(language, text) : null;
  }
  return last.tree;
}
