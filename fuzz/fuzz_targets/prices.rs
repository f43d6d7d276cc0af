//! Any text as a file of prices: refused, or prices that answer any question with an amount that is not negative.

#![no_main]

use fathom_accounts::{Money, Prices, Timestamp, Tokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, i64, u64)| {
    let (text, seconds, many) = input;
    let Ok(prices) = Prices::parse(text) else {
        return;
    };
    let moments = [
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX),
        Timestamp::MIN,
        Timestamp::MAX,
    ];
    let tokens = Tokens {
        hit: many,
        miss: many,
        output: many,
        reasoning: 0,
    };
    for tier in prices.tiers() {
        for currency in prices.currencies(tier) {
            for moment in moments {
                if let Some(price) = prices.price(tier, moment, currency) {
                    assert!(price.cost(&tokens) >= Money::ZERO);
                }
            }
        }
    }
});
