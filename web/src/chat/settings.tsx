import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { storedKey, storeKey } from "../lib/api";
import type { Settings } from "../lib/conversation";
import { NO_SETTINGS } from "../lib/conversation";
import { LANGUAGES, language, type Language, picked, t } from "../strings";
import { Dialog } from "../ui/dialog";
import { type Theme, theme } from "../ui/theme";
import { model } from "./actions";
import { conversations, defaults, exportJson, importJson, setSettings, settings } from "./library";
import { info, loadInfo } from "./models";
import { download } from "./save";
import { dialog, say } from "./view";

export function SettingsDialog({ onClose }: { onClose(): void }) {
  return (
    <Dialog title={t().settings} onClose={onClose} size="medium">
      <div class="settings">
        <ThisChat />
        <General />
        <Data />
        <p class="hint settings-foot">
          <span>{t().version_(info.value?.version ?? "")}</span>
          <a href="/admin">{t().adminLink}</a>
        </p>
      </div>
    </Dialog>
  );
}

function ThisChat() {
  const now = settings.value;
  const set = (change: Partial<Settings>) => void setSettings({ ...now, ...change });
  const recommended = model.value?.sampling;
  const same = JSON.stringify(defaults.value) === JSON.stringify(now);
  return (
    <section>
      <h3>{t().thisChat}</h3>
      <label class="setting-tall">
        <span>{t().systemPrompt}</span>
        <textarea
          class="field"
          rows={3}
          value={now.system}
          onChange={(event) => set({ system: event.currentTarget.value })}
        />
        <span class="hint">{t().systemPromptNote}</span>
      </label>
      <NumberSetting
        name={t().temperature}
        note={t().temperatureNote}
        value={now.temperature}
        recommended={recommended?.temperature}
        min={0}
        max={2}
        step={0.1}
        onChange={(temperature) => set({ temperature })}
      />
      <NumberSetting
        name={t().topP}
        note={t().topPNote}
        value={now.topP}
        recommended={recommended?.top_p}
        min={0.01}
        max={1}
        step={0.01}
        onChange={(topP) => set({ topP })}
      />
      <NumberSetting
        name={t().maxTokens}
        note={t().maxTokensNote}
        value={now.maxTokens}
        min={1}
        max={393_216}
        step={1}
        onChange={(maxTokens) => set({ maxTokens })}
      />
      <div class="row-end">
        <button type="button" class="button" onClick={() => void setSettings(NO_SETTINGS)}>
          {t().reset}
        </button>
        <button type="button" class="button" disabled={same} onClick={() => (defaults.value = now)}>
          {same ? t().madeDefault : t().makeDefault}
        </button>
      </div>
    </section>
  );
}

function NumberSetting(props: {
  name: string;
  note: string;
  value: number | null;
  recommended?: number | undefined;
  min: number;
  max: number;
  step: number;
  onChange(value: number | null): void;
}) {
  const { min, max, recommended } = props;
  const onChange = (event: { currentTarget: HTMLInputElement }) => {
    const { value, valueAsNumber } = event.currentTarget;
    if (value === "" || Number.isNaN(valueAsNumber)) return props.onChange(null);
    const within = Math.min(max, Math.max(min, valueAsNumber));
    event.currentTarget.value = String(within);
    props.onChange(within);
  };
  const hint = recommended === undefined ? "" : `${t().modelDefault(String(Number(recommended.toFixed(2))))}. `;
  return (
    <Setting name={props.name} note={`${hint}${props.note}`}>
      <input
        class="field field-number"
        type="number"
        inputMode="decimal"
        value={props.value ?? ""}
        placeholder={recommended === undefined ? "" : String(Number(recommended.toFixed(2)))}
        min={min}
        max={max}
        step={props.step}
        aria-label={props.name}
        onChange={onChange}
      />
    </Setting>
  );
}

function General() {
  const [key, setKey] = useState(storedKey());
  const [shown, setShown] = useState(false);
  const themes: [Theme, string][] = [
    ["system", t().themeSystem],
    ["light", t().themeLight],
    ["dark", t().themeDark],
  ];
  return (
    <section>
      <h3>{t().general}</h3>
      <Setting name={t().theme}>
        <div class="segments" role="radiogroup" aria-label={t().theme}>
          {themes.map(([value, name]) => (
            <button
              key={value}
              type="button"
              role="radio"
              aria-checked={theme.value === value}
              onClick={() => (theme.value = value)}
            >
              {name}
            </button>
          ))}
        </div>
      </Setting>
      <Setting name={t().language}>
        <select
          class="field field-select"
          value={language.value}
          aria-label={t().language}
          onChange={(event) => (picked.value = event.currentTarget.value as Language)}
        >
          {Object.entries(LANGUAGES).map(([code, name]) => (
            <option key={code} value={code} selected={code === language.value}>
              {name}
            </option>
          ))}
        </select>
      </Setting>
      <Setting name={t().apiKey} note={t().apiKeyNote}>
        <div class="key-field">
          <input
            class="field"
            type={(shown ? "text" : "password") as "password"}
            value={key}
            placeholder="sk-…"
            autocomplete="off"
            spellcheck={false}
            aria-label={t().apiKey}
            onInput={(event) => setKey(event.currentTarget.value)}
            onChange={() => {
              storeKey(key.trim());
              void loadInfo();
            }}
          />
          <button type="button" class="button" onClick={() => setShown(!shown)} aria-pressed={shown}>
            {shown ? t().hide : t().show}
          </button>
        </div>
      </Setting>
    </section>
  );
}

function Data() {
  const picker = useRef<HTMLInputElement>(null);
  const all = conversations.value;
  const take = async (file: File | undefined) => {
    if (!file) return;
    try {
      say(t().imported(await importJson(await file.text())));
    } catch (error) {
      say(t().importFailed((error as Error).message), true);
    }
  };
  return (
    <section>
      <h3>{t().data}</h3>
      <div class="row">
        <button
          type="button"
          class="button"
          disabled={all.length === 0}
          onClick={() => void exportJson(all.map((c) => c.id)).then((json) => download(json, "Fathom"))}
        >
          {t().exportAll}
        </button>
        <button type="button" class="button" onClick={() => picker.current?.click()}>
          {t().import}
        </button>
        <input
          ref={picker}
          type="file"
          accept="application/json,.json"
          hidden
          onChange={(event) => {
            void take(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
        <button
          type="button"
          class="button button-danger"
          disabled={all.length === 0}
          onClick={() => (dialog.value = { name: "delete-all" })}
        >
          {t().deleteAll}
        </button>
      </div>
    </section>
  );
}

function Setting({ name, note, children }: { name: string; note?: string; children: ComponentChildren }) {
  return (
    <div class="setting">
      <div class="setting-name">
        <span>{name}</span>
        {note && <span class="hint">{note}</span>}
      </div>
      {children}
    </div>
  );
}
