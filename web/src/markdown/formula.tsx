// A formula. KaTeX is loaded when the first one appears; until then, and where it cannot read the formula, the source is shown.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

type Draw = typeof import("./katex")["draw"];

let loaded: Draw | null = null;
let loading: Promise<Draw> | null = null;

export function Formula({ tex, display }: { tex: string; display: boolean }) {
  const place = useRef<HTMLElement>(null);
  const [draw, set] = useState(() => loaded);
  const [failed, fail] = useState(false);
  useEffect(() => {
    if (draw) return;
    loading ??= import("./katex").then((module) => module.draw);
    loading
      .then((ready) => {
        loaded = ready;
        set(() => ready);
      })
      .catch(() => {
        loading = null;
        fail(true);
      });
  }, [draw]);
  useLayoutEffect(() => {
    if (draw && place.current) fail(!draw(place.current, tex, display));
  }, [draw, tex, display]);
  const Tag = display ? "div" : "span";
  return (
    <Tag class={display ? "math math-display" : "math"}>
      {(!draw || failed) && <code>{tex}</code>}
      <span ref={place} hidden={!draw || failed} />
    </Tag>
  );
}
