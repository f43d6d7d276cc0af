// Keys that work anywhere on the page.

import { run } from "./actions";
import { go } from "./library";
import { dialog, drawer, narrow, sidebar } from "./view";

export function installShortcuts(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (command && !event.shiftKey && key === "k") {
      dialog.value = dialog.value?.name === "search" ? null : { name: "search" };
    } else if (command && event.shiftKey && key === "o") {
      dialog.value = null;
      go(null);
      document.getElementById("message")?.focus();
    } else if (command && event.shiftKey && key === "s") {
      if (narrow.value) drawer.value = !drawer.value;
      else sidebar.value = !sidebar.value;
    } else if (key === "escape" && drawer.value) {
      drawer.value = false;
    } else if (key === "escape" && run.value && dialog.value === null) {
      run.value.stop();
    } else if (event.key === "?" && !command && !inText(event.target)) {
      dialog.value = { name: "help" };
    } else {
      return;
    }
    event.preventDefault();
  });
}

function inText(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
