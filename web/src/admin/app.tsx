import { useState } from "preact/hooks";
import { storedKey, storeKey } from "../lib/api";
import { bytes, compact, count, duration } from "../lib/format";
import { locale, t } from "../strings";
import { Mark } from "../ui/mark";
import { Chart } from "./chart";
import { ask, figures, live, models, problem, shownModel } from "./data";
import { Keys } from "./keys";
import { rate, ratio } from "./samples";
import { Usage } from "./usage";

export function App() {
  const now = live.value;
  return (
    <div class="admin">
      <header>
        <a class="brand" href="/">
          <Mark />
          {t().appName}
        </a>
        <h1>{t().adminTitle}</h1>
        <span class="spacer" />
        {models.value.length > 1 && (
          <select
            class="field field-select"
            aria-label={t().model}
            value={shownModel.value ?? ""}
            onChange={(event) => (shownModel.value = event.currentTarget.value || null)}
          >
            <option value="">{t().allModels}</option>
            {models.value.map((model) => (
              <option key={model.id} value={model.id}>
                {model.id}
              </option>
            ))}
          </select>
        )}
        <a class="button" href="/">
          {t().adminBack}
        </a>
      </header>
      {problem.value?.kind === "key" ? (
        <KeyForm />
      ) : (
        <main>
          {problem.value && (
            <p class="panel bad" role="alert">
              {t().adminLost} {problem.value.detail}
            </p>
          )}
          {now && <Tiles />}
          {now && <Charts />}
          {now && <Lookups />}
          {now && <Usage />}
          {now && <Keys />}
        </main>
      )}
    </div>
  );
}

function KeyForm() {
  const [key, setKey] = useState(storedKey());
  return (
    <main>
      <form
        class="panel key-form"
        onSubmit={(event) => {
          event.preventDefault();
          storeKey(key.trim());
          void ask();
        }}
      >
        <h2>{t().apiKey}</h2>
        <p class="quiet">{t().adminKey}</p>
        <input
          class="field"
          type="password"
          value={key}
          placeholder="sk-…"
          autocomplete="off"
          aria-label={t().apiKey}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        {problem.value?.detail && <p class="bad">{problem.value.detail}</p>}
        <div class="row-end">
          <button type="submit" class="button button-main">
            {t().save}
          </button>
        </div>
      </form>
    </main>
  );
}

/** What counts right now, and since the start. */
function Tiles() {
  const last = figures.value.at(-1)?.model;
  const now = live.value;
  if (!last || !now) return null;
  const n = (value: number) => count(value, locale.value);
  const share = last.asked_tokens > 0 ? last.hit_tokens / last.asked_tokens : 0;
  const percent = new Intl.NumberFormat(locale.value, { style: "percent", maximumFractionDigits: 0 }).format(share);
  const shown = models.value.filter((m) => shownModel.value === null || m.id === shownModel.value);
  const ramBudget = shown.reduce((sum, m) => sum + m.cache_ram_budget_bytes, 0);
  const diskBudget = shown.reduce((sum, m) => sum + (m.cache_disk_budget_bytes ?? 0), 0);
  const tiles: [name: string, value: string, note: string, exact?: string][] = [
    [t().running, n(last.running), `${n(last.waiting)} ${t().queued}`],
    [t().prefill, compact(last.prefill_tokens, locale.value), t().tokensSoFar, n(last.prefill_tokens)],
    [t().decode, compact(last.decode_tokens, locale.value), t().tokensSoFar, n(last.decode_tokens)],
    [t().hitShare, percent, `${compact(last.hit_tokens, locale.value)} / ${compact(last.asked_tokens, locale.value)}`],
    [`${t().cache}: ${t().cacheRam}`, bytes(last.ram_bytes, locale.value), t().ofBudget(bytes(ramBudget, locale.value))],
    ...(diskBudget > 0
      ? [[`${t().cache}: ${t().cacheDisk}`, bytes(last.disk_bytes, locale.value), t().ofBudget(bytes(diskBudget, locale.value))] as [string, string, string]]
      : []),
    [t().adminUptime, upFor(now.now - now.started), t().version_(now.version)],
  ];
  return (
    <dl class="tiles">
      {tiles.map(([name, value, note, exact]) => (
        <div key={name} class="panel">
          <dt>{name}</dt>
          <dd title={exact}>{value}</dd>
          <dd class="hint">{note}</dd>
        </div>
      ))}
    </dl>
  );
}

function upFor(ms: number): string {
  if (ms < 3_600_000) return duration(Math.floor(ms / 1000) * 1000, locale.value);
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(locale.value, { style: "unit", unit: name, unitDisplay: "short" }).format(value);
  const hours = Math.floor(ms / 3_600_000);
  if (hours < 48) return `${unit(hours, "hour")} ${unit(Math.floor(ms / 60_000) % 60, "minute")}`;
  return `${unit(Math.floor(hours / 24), "day")} ${unit(hours % 24, "hour")}`;
}

function Charts() {
  const all = figures.value;
  const times = all.map((f) => f.at / 1000);
  const tokens = (value: number) => compact(value, locale.value);
  const size = (value: number) => bytes(value, locale.value);
  const disk = models.value.some((m) => m.cache_disk_budget_bytes !== null);
  const asked = rate(all, "asked_tokens");
  const hit = rate(all, "hit_tokens");
  return (
    <div class="charts">
      <Chart
        title={t().throughput}
        times={times}
        show={tokens}
        series={[
          { name: t().prefill, values: rate(all, "prefill_tokens") },
          { name: t().decode, values: rate(all, "decode_tokens") },
        ]}
      />
      <Chart
        title={t().requests}
        times={times}
        unit="whole"
        show={tokens}
        series={[
          { name: t().running, values: all.map((f) => f.model.running) },
          { name: t().queued, values: all.map((f) => f.model.waiting) },
        ]}
      />
      <Chart
        title={t().batch}
        note={t().batchNote}
        times={times}
        unit="whole"
        show={tokens}
        series={[{ name: t().batchMean, values: ratio(all, ["prefill_tokens", "decode_tokens"], "steps").map((v) => v ?? 0) }]}
      />
      <Chart
        title={t().cacheHits}
        times={times}
        show={tokens}
        series={[
          { name: t().hit, values: hit },
          { name: t().computed, values: asked.map((tokens, i) => (tokens === null ? null : tokens - (hit[i] ?? 0))) },
        ]}
      />
      <Chart
        title={t().cache}
        times={times}
        unit="bytes"
        show={size}
        series={[
          { name: t().cacheRam, values: all.map((f) => f.model.ram_bytes) },
          ...(disk ? [{ name: t().cacheDisk, values: all.map((f) => f.model.disk_bytes) }] : []),
        ]}
      />
      <Chart
        title={t().memory}
        times={times}
        unit="bytes"
        show={size}
        series={[
          { name: t().process, values: all.map((f) => f.resident) },
          { name: t().states, values: all.map((f) => f.model.held_bytes) },
        ]}
      />
    </div>
  );
}

/** Why lookups in the cache ended where they did. */
function Lookups() {
  const shown = models.value.filter((m) => shownModel.value === null || m.id === shownModel.value);
  const sums = new Map<string, number>();
  for (const model of shown) {
    for (const [reason, n] of Object.entries(model.lookups)) sums.set(reason, (sums.get(reason) ?? 0) + n);
  }
  const rows = [...sums].filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  if (rows.length === 0) return null;
  const most = rows[0]?.[1] ?? 1;
  return (
    <section class="panel">
      <div class="panel-head">
        <h2>{t().misses}</h2>
      </div>
      <dl class="bars">
        {rows.map(([reason, n]) => (
          <div key={reason}>
            <dt>{t().reasons[reason] ?? reason}</dt>
            <dd>
              <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
                <rect width={(100 * n) / most} height="8" />
              </svg>
              {count(n, locale.value)}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
