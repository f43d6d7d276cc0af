import { useEffect, useState } from "preact/hooks";
import { t } from "../strings";
import { Icon } from "../ui/icon";
import { addFiles } from "./draft";

/** Takes files that are dropped anywhere on the page. */
export function DropTarget() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    // Entering a child comes before leaving its parent, so they are counted.
    let depth = 0;
    const withFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true;
    const listeners: Partial<Record<string, (event: DragEvent) => void>> = {
      dragenter: (event) => {
        if (!withFiles(event)) return;
        event.preventDefault();
        depth++;
        setOver(true);
      },
      dragleave: (event) => {
        if (!withFiles(event)) return;
        depth = Math.max(0, depth - 1);
        if (depth === 0) setOver(false);
      },
      dragover: (event) => {
        if (withFiles(event)) event.preventDefault();
      },
      drop: (event) => {
        depth = 0;
        setOver(false);
        if (!withFiles(event)) return;
        event.preventDefault();
        void addFiles([...(event.dataTransfer?.files ?? [])]);
      },
    };
    const all = Object.entries(listeners) as [string, (event: Event) => void][];
    for (const [name, listener] of all) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of all) removeEventListener(name, listener);
    };
  }, []);
  if (!over) return null;
  return (
    <div class="drop">
      <div class="drop-box">
        <Icon name="file" size={36} />
        <strong>{t().dropHere}</strong>
        <span>{t().dropNote}</span>
      </div>
    </div>
  );
}
