import { useState } from "preact/hooks";
import { storedKey, storeKey } from "../lib/api";
import { t } from "../strings";
import { Dialog } from "../ui/dialog";
import { infoProblem, keyWanted, loadInfo } from "./models";
import { problemText } from "./answer";

/** Asks for the API key until it is right. */
export function KeyDialog({ onClose }: { onClose(): void }) {
  const [key, setKey] = useState(storedKey());
  const [wrong, setWrong] = useState(storedKey() !== "");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    storeKey(key.trim());
    await loadInfo();
    setBusy(false);
    setWrong(keyWanted.value);
    if (!keyWanted.value && !infoProblem.value) onClose();
  };
  const problem = infoProblem.value?.kind === "key" ? null : infoProblem.value;
  return (
    <Dialog title={t().apiKey} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <p class="quiet">{t().apiKeyWanted}</p>
        <input
          class="field"
          type="password"
          value={key}
          placeholder="sk-…"
          autocomplete="off"
          spellcheck={false}
          aria-label={t().apiKey}
          aria-invalid={wrong}
          onInput={(event) => {
            setKey(event.currentTarget.value);
            setWrong(false);
          }}
          autofocus
        />
        {wrong && (
          <p class="bad" role="alert">
            {t().apiKeyWrong}
          </p>
        )}
        {problem && (
          <p class="bad" role="alert">
            {problemText(problem)}
          </p>
        )}
        <p class="hint">{t().apiKeyNote}</p>
        <div class="row-end">
          <button type="submit" class="button button-main" disabled={!key.trim() || busy}>
            {t().save}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
