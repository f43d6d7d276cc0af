import { effect } from "@preact/signals";
import { render } from "preact";
import { followSettings } from "../ui/theme";
import { App } from "./app";
import { open, openLibrary } from "./library";
import { keyWanted, loadInfo } from "./models";
import { installShortcuts } from "./shortcuts";
import { dialog } from "./view";

followSettings();
installShortcuts();
effect(() => {
  document.title = open.value?.title ? `${open.value.title} – Fathom` : "Fathom";
});

async function start(): Promise<void> {
  await Promise.all([openLibrary(), loadInfo()]);
  if (keyWanted.value) dialog.value = { name: "key" };
  render(<App />, document.getElementById("app") as HTMLElement);
}

void start();
