// Amounts are floating-point here, for they are only shown; the server's ledger counts exactly.

import type { Usage } from "./conversation";

export interface Money {
  amount: number;
  currency: string;
}

/** Per million tokens. */
export interface Price {
  currency: string;
  hit: number;
  miss: number;
  output: number;
}

/** What one request costs; null where nothing is charged. */
export function costOf(usage: Usage, price: Price | null): Money | null {
  if (!price) return null;
  const amount = (usage.hit * price.hit + usage.miss * price.miss + usage.output * price.output) / 1e6;
  return amount > 0 ? { amount, currency: price.currency } : null;
}

/** The sum, per currency. */
export function total(costs: Iterable<Money | undefined>): Money[] {
  const sums = new Map<string, number>();
  for (const cost of costs) {
    if (cost) sums.set(cost.currency, (sums.get(cost.currency) ?? 0) + cost.amount);
  }
  return [...sums].map(([currency, amount]) => ({ amount, currency }));
}

/** Adds two amounts of one currency; the later one wins where they differ, which only a change of settings can cause. */
export function plus(a: Money | undefined, b: Money | null): Money | undefined {
  if (!b) return a;
  if (a?.currency !== b.currency) return b;
  return { amount: a.amount + b.amount, currency: b.currency };
}
