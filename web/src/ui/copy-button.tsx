import { useEffect, useState } from "preact/hooks";
import { t } from "../strings";
import { Icon } from "./icon";

/** Copies a text and says so for a moment. */
export function CopyButton({ text, label }: { text: () => string; label: string }) {
  const [state, set] = useState<"idle" | "done" | "failed">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = setTimeout(() => set("idle"), 1600);
    return () => clearTimeout(timer);
  }, [state]);
  const copy = () => {
    copyText(text()).then(
      () => set("done"),
      () => set("failed"),
    );
  };
  const said = state === "idle" ? label : state === "done" ? t().copied : t().copyFailed;
  return (
    <button type="button" class="icon-button" onClick={copy} aria-label={said} title={said}>
      <Icon name={state === "done" ? "check" : state === "failed" ? "alert" : "copy"} size={16} />
    </button>
  );
}

/** Writes to the clipboard; where the page is not trusted with it (plain HTTP from another machine), by selecting. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("not allowed");
}
