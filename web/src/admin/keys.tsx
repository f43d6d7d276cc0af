import { useEffect, useState } from "preact/hooks";
import { getJson } from "../lib/api";
import { count, money } from "../lib/format";
import { locale, t } from "../strings";

interface Key {
  name: string;
  last_four: string;
  admin: boolean;
  revoked: string | null;
  limits: {
    concurrent: number | null;
    tokens_per_minute: number | null;
    tokens_per_day: number | null;
  };
  running: number;
  tokens_last_minute: number;
  tokens_last_day: number;
  /** Null unless it must have one. Decimal. */
  balance: { currency: string; amount: string } | null;
}

/** The keys, what they may use and what of it they are using. */
export function Keys() {
  const [reply, setReply] = useState<{ accounts: boolean; keys: Key[] } | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const load = () =>
      getJson<{ accounts: boolean; keys: Key[] }>("/admin/api/keys", abort.signal).then(
        setReply,
        // The rest of the page says what is wrong.
        () => undefined,
      );
    void load();
    const timer = setInterval(() => void load(), 3000);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, []);
  if (!reply) return null;
  const { accounts, keys } = reply;
  const n = (value: number) => count(value, locale.value);
  const of = (used: number, limit: number | null) => (
    <td>
      {n(used)} <span class="quiet">/ {limit === null ? t().unlimited : n(limit)}</span>
    </td>
  );
  return (
    <section class="panel">
      <div class="panel-head">
        <h2>{t().keys}</h2>
      </div>
      {keys.length === 0 ? (
        <p class="quiet">{accounts ? t().noKeys : t().noAccounts}</p>
      ) : (
        <div class="table">
          <table>
            <thead>
              <tr>
                <th>{t().keyName}</th>
                <th>{t().keyEnds}</th>
                <th>{t().keyState}</th>
                <th>{t().keyConcurrent}</th>
                <th>{t().keyMinute}</th>
                <th>{t().keyDay}</th>
                <th>{t().keyBalance}</th>
              </tr>
            </thead>
            <tbody>
              {keys.map((key) => (
                <tr key={key.last_four + key.name} class={key.revoked ? "gone" : undefined}>
                  <td>{key.name}</td>
                  <td>
                    <code>…{key.last_four}</code>
                  </td>
                  <td>
                    {key.revoked ? t().keyRevoked : t().keyActive}
                    {key.admin && ` · ${t().keyAdmin}`}
                  </td>
                  {of(key.running, key.limits.concurrent)}
                  {of(key.tokens_last_minute, key.limits.tokens_per_minute)}
                  {of(key.tokens_last_day, key.limits.tokens_per_day)}
                  <td>{key.balance ? money({ amount: Number(key.balance.amount), currency: key.balance.currency }, locale.value) : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
