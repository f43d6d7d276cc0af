import { useEffect, useState } from "preact/hooks";
import { ApiError, getJson } from "../lib/api";
import { count, money } from "../lib/format";
import { locale, t } from "../strings";

interface Row {
  /** A key's or model's name, or a day; empty for requests without a key. */
  group: string;
  currency: string;
  requests: number;
  hit: number;
  miss: number;
  output: number;
  reasoning: number;
  /** Decimal. */
  cost: string;
}

type By = "key" | "model" | "day";
const SUMS = ["requests", "hit", "miss", "output", "reasoning"] as const;

const day = (daysAgo: number) => {
  const date = new Date(Date.now() - daysAgo * 86_400_000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
};

/** What was used, by key, model or day. */
export function Usage() {
  const [by, setBy] = useState<By>("key");
  const [from, setFrom] = useState(day(29));
  const [to, setTo] = useState(day(0));
  const [rows, setRows] = useState<Row[] | null>(null);
  const [recorded, setRecorded] = useState(true);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    const load = async () => {
      const query = new URLSearchParams({ by, from, to, offset: String(-new Date().getTimezoneOffset()) });
      try {
        const reply = await getJson<{ accounts: boolean; rows: Row[] }>(`/admin/api/usage?${query}`, abort.signal);
        setRows(reply.rows);
        setRecorded(reply.accounts);
        setTrouble("");
      } catch (error) {
        if (abort.signal.aborted) return;
        setTrouble(error instanceof ApiError && error.problem.detail ? error.problem.detail : t().adminLost);
      }
    };
    void load();
    const timer = setInterval(() => void load(), 15_000);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [by, from, to]);

  const names: [By, string][] = [
    ["key", t().byKey],
    ["model", t().byModel],
    ["day", t().byDay],
  ];
  return (
    <section class="panel">
      <div class="panel-head">
        <h2>{t().usage}</h2>
        <div class="segments" role="radiogroup" aria-label={t().usage}>
          {names.map(([value, name]) => (
            <button key={value} type="button" role="radio" aria-checked={by === value} onClick={() => setBy(value)}>
              {name}
            </button>
          ))}
        </div>
        <span class="spacer" />
        <label>
          {t().from}
          <input class="field" type="date" value={from} max={to} onChange={(e) => e.currentTarget.value && setFrom(e.currentTarget.value)} />
        </label>
        <label>
          {t().to}
          <input class="field" type="date" value={to} min={from} onChange={(e) => e.currentTarget.value && setTo(e.currentTarget.value)} />
        </label>
      </div>
      {trouble ? <p class="bad">{trouble}</p> : rows && rows.length === 0 ? <p class="quiet">{recorded ? t().noUsage : t().noAccounts}</p> : rows && <Table by={by} rows={rows} />}
    </section>
  );
}

function Table({ by, rows }: { by: By; rows: Row[] }) {
  const n = (value: number) => count(value, locale.value);
  const paid = rows.some((row) => Number(row.cost) !== 0);
  // Amounts in different currencies are not added up.
  const currencies = [...new Set(rows.map((row) => row.currency))];
  const cost = (amount: number, currency: string) => (amount === 0 ? "–" : money({ amount, currency }, locale.value));
  const head = { key: t().key, model: t().model, day: t().day }[by];
  const sum = (key: (typeof SUMS)[number]) => rows.reduce((all, row) => all + row[key], 0);
  return (
    <div class="table">
      <table>
        <thead>
          <tr>
            <th>{head}</th>
            <th>{t().requestsColumn}</th>
            <th>{t().hitColumn}</th>
            <th>{t().missColumn}</th>
            <th>{t().outputColumn}</th>
            <th>{t().reasoningColumn}</th>
            {paid && <th>{t().costColumn}</th>}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.group} ${row.currency}`}>
              <td>{row.group || <span class="quiet">{t().anonymous}</span>}</td>
              {SUMS.map((key) => (
                <td key={key}>{n(row[key])}</td>
              ))}
              {paid && <td>{cost(Number(row.cost), row.currency)}</td>}
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <td>{t().total}</td>
            {SUMS.map((key) => (
              <td key={key}>{n(sum(key))}</td>
            ))}
            {paid && (
              <td>
                {currencies
                  .map((c) => cost(rows.filter((r) => r.currency === c).reduce((all, r) => all + Number(r.cost), 0), c))
                  .filter((text) => text !== "–")
                  .join(" + ")}
              </td>
            )}
          </tr>
        </tfoot>
      </table>
    </div>
  );
}
