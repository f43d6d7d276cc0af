import { useEffect, useRef, useState } from "preact/hooks";
import { count, money } from "../lib/format";
import { forecast, lastUsage } from "../lib/meter";
import { total } from "../lib/money";
import { locale, t } from "../strings";
import { model, run } from "./actions";
import { draftTokens } from "./draft";
import { messages, path } from "./library";

const RADIUS = 8;
const ROUND = 2 * Math.PI * RADIUS;

/** A ring that fills with the context; pressed, it says what is in the cache and what it cost. */
export function Meter() {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);

  const current = model.value;
  if (!current) return null;
  const now = forecast(path.value, draftTokens.value);
  const filled = now.hit + now.miss;
  const share = Math.min(1, filled / current.context);
  const percent = new Intl.NumberFormat(locale.value, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share);
  const label = t().contextMeter(percent);
  return (
    <div
      class="menu"
      ref={root}
      onKeyDown={(event) => {
        if (open && event.key === "Escape") {
          setOpen(false);
          event.stopPropagation();
        }
      }}
    >
      <button
        type="button"
        class="icon-button meter"
        onClick={() => setOpen(!open)}
        aria-expanded={open}
        aria-label={label}
        title={label}
      >
        <svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
          <circle class="ring" cx="11" cy="11" r={RADIUS} />
          <circle
            class={share > 0.9 ? "ring-filled ring-full" : "ring-filled"}
            cx="11"
            cy="11"
            r={RADIUS}
            stroke-dasharray={`${share * ROUND} ${ROUND}`}
            transform="rotate(-90 11 11)"
          />
        </svg>
      </button>
      {open && <Details filled={filled} context={current.context} percent={percent} hit={now.hit} miss={now.miss} />}
    </div>
  );
}

function Details(props: { filled: number; context: number; percent: string; hit: number; miss: number }) {
  const n = (value: number) => count(value, locale.value);
  const last = lastUsage(path.value);
  const costs = total(messages.value.map((m) => m.cost));
  return (
    <div class="menu-list menu-above menu-end meter-details" role="region" aria-label={t().meterTitle}>
      <div class="meter-head">
        <span>{t().meterTitle}</span>
        <span>{props.percent}</span>
      </div>
      <div class="meter-line">{t().meterUsed(n(props.filled), n(props.context))}</div>
      {last && (
        <>
          <div class="meter-head">
            <span>{t().meterLast}</span>
          </div>
          <Split hit={last.hit} miss={last.miss} />
          <dl>
            <Line name={t().meterHit} value={n(last.hit)} mark="hit" />
            <Line name={t().meterRead} value={n(last.miss)} mark="miss" />
            <Line name={t().meterWritten} value={n(last.output)} />
            {last.reasoning > 0 && <Line name={t().meterThought} value={n(last.reasoning)} />}
          </dl>
        </>
      )}
      {!run.value && props.miss + props.hit > 0 && (
        <>
          <div class="meter-head">
            <span>{t().meterNext}</span>
            <span class="quiet">{t().meterAbout}</span>
          </div>
          <dl>
            <Line name={t().meterHit} value={n(props.hit)} mark="hit" />
            <Line name={t().meterMiss} value={n(props.miss)} mark="miss" />
          </dl>
        </>
      )}
      {costs.length > 0 && (
        <dl class="meter-cost">
          <Line name={t().meterCost} value={costs.map((cost) => money(cost, locale.value)).join(" + ")} />
        </dl>
      )}
    </div>
  );
}

function Split({ hit, miss }: { hit: number; miss: number }) {
  return (
    <svg class="split" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
      <rect class="split-miss" width="100" height="4" />
      <rect class="split-hit" width={(100 * hit) / Math.max(1, hit + miss)} height="4" />
    </svg>
  );
}

function Line({ name, value, mark }: { name: string; value: string; mark?: "hit" | "miss" }) {
  return (
    <div>
      <dt>
        {mark && <i class={`mark-${mark}`} />}
        {name}
      </dt>
      <dd>{value}</dd>
    </div>
  );
}
