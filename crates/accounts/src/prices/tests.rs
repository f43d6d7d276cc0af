use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn published(tier: &str, moment: &str, currency: Currency) -> Option<(String, [u64; 3])> {
    let price = Prices::deepseek().price(tier, at(moment), currency)?;
    let PerToken {
        hit_picos,
        miss_picos,
        output_picos,
    } = price.per_token;
    Some((price.id, [hit_picos, miss_picos, output_picos]))
}

#[test]
fn the_published_table() {
    let cases = [
        // A Sunday, so no peak anywhere in this column of times.
        ("flash", "2026-04-25T12:00:00Z", [28_000, 140_000, 280_000], None),
        (
            "pro",
            "2026-04-25T12:00:00Z",
            [145_000, 1_740_000, 3_480_000],
            None,
        ),
        ("flash", "2026-05-03T12:00:00Z", [2_800, 140_000, 280_000], None),
        ("pro", "2026-08-16T15:59:59Z", [3_625, 435_000, 870_000], None),
        (
            "flash",
            "2026-08-16T16:00:00Z",
            [7_000, 220_000, 660_000],
            Some([50_000, 1_500_000, 4_500_000]),
        ),
        (
            "pro",
            "2026-11-15T12:00:00Z",
            [22_000, 660_000, 1_980_000],
            Some([150_000, 4_500_000, 13_500_000]),
        ),
        (
            "flash",
            "2026-11-15T12:00:00Z",
            [3_000, 150_000, 600_000],
            Some([20_000, 1_000_000, 4_000_000]),
        ),
    ];
    for (tier, moment, usd, cny) in cases {
        assert_eq!(
            published(tier, moment, Currency::USD).unwrap().1,
            usd,
            "{tier} {moment}"
        );
        assert_eq!(
            published(tier, moment, Currency::CNY).map(|price| price.1),
            cny,
            "{tier} {moment}"
        );
    }
    assert_eq!(published("flash", "2026-04-23T15:59:59Z", Currency::USD), None);
    assert_eq!(published("nano", "2026-11-15T12:00:00Z", Currency::USD), None);
    assert_eq!(
        published("flash", "2026-11-15T12:00:00Z", "EUR".parse().unwrap()),
        None
    );
}

#[test]
fn peak_hours_are_the_published_windows_of_beijing() {
    let prices = Prices::deepseek();
    // Monday, 2 November 2026; Beijing is eight hours ahead.
    for (time, peak) in [
        ("00:59:59", false),
        ("01:00:00", true),
        ("03:59:59", true),
        ("04:00:00", false),
        ("05:59:59", false),
        ("06:00:00", true),
        ("09:59:59", true),
        ("10:00:00", false),
    ] {
        assert_eq!(prices.is_peak(at(&format!("2026-11-02T{time}Z"))), peak, "{time}");
    }
    for (moment, peak) in [
        ("2026-11-06T02:00:00Z", true),  // a Friday
        ("2026-11-07T02:00:00Z", false), // a Saturday
        ("2026-11-08T02:00:00Z", false), // a Sunday
        ("2026-10-01T02:00:00Z", false), // National Day, a Thursday
        ("2026-10-08T02:00:00Z", true),  // the first day after it
        ("2026-10-10T02:00:00Z", false), // a Saturday that was worked
        ("2026-02-23T02:00:00Z", false), // the last Monday of Spring Festival
        ("2027-10-01T02:00:00Z", true),  // a year without a list
    ] {
        assert_eq!(prices.is_peak(at(moment)), peak, "{moment}");
    }
    assert_eq!(
        published("flash", "2026-11-02T01:00:00Z", Currency::USD),
        Some(("flash-2026-09-10/peak".to_owned(), [6_000, 300_000, 1_200_000]))
    );
    // There was no peak price before August.
    assert_eq!(
        published("flash", "2026-06-01T02:00:00Z", Currency::USD)
            .unwrap()
            .0,
        "flash-2026-04-26"
    );
}

#[test]
fn cost_is_exact_and_never_wraps() {
    let price = Prices::deepseek().price("flash", at("2026-11-15T12:00:00Z"), Currency::USD);
    let cost = |tokens| price.as_ref().unwrap().cost(&tokens);
    let tokens = Tokens {
        hit: 6_784,
        miss: 122,
        output: 50,
        reasoning: 40,
    };
    // 6784·0.003 + 122·0.15 + 50·0.60, per million.
    assert_eq!(cost(tokens).to_string(), "0.000068652");
    let all = u64::MAX;
    let tokens = Tokens {
        hit: all,
        miss: all,
        output: all,
        reasoning: 0,
    };
    assert_eq!(cost(tokens), Money::MAX);
}

const SELF_HOST: &str = r#"
[[price]]
id = "box"
tier = "pro"
kind = "self-host"
from = 2026-11-01T00:00:00Z
currency = "EUR"
prefill_tokens_per_second = 400
decode_tokens_per_second = 40
power_watts = 300
price_per_kwh = 0.25
hardware_price = 4380
lifetime_hours = 43800
utilisation = 0.5
[[price]]
id = "gift"
tier = "flash"
kind = "free"
from = 2026-11-01T00:00:00Z
"#;

#[test]
fn an_operators_own_prices() {
    let prices = Prices::parse(SELF_HOST).unwrap();
    let moment = at("2026-11-02T01:00:00Z");
    let eur = "EUR".parse().unwrap();
    // 0.2 + 0.075 an hour.
    let price = prices.price("pro", moment, eur).unwrap().per_token;
    assert_eq!((price.miss_picos, price.output_picos), (190_972, 1_909_722));
    assert_eq!(prices.price("pro", moment, Currency::USD), None);
    assert_eq!(prices.currencies("pro"), [eur]);
    let free = prices.price("flash", moment, Currency::CNY).unwrap();
    assert_eq!((free.id.as_str(), free.per_token), ("gift", PerToken::default()));
    assert_eq!(prices.tiers().collect::<Vec<_>>(), ["flash", "pro"]);
}

#[test]
fn the_example_in_the_operators_guide_is_valid() {
    let guide = include_str!("../../../../docs/serving.md");
    let example = guide
        .split("```toml\n")
        .find(|block| block.starts_with("[[price]]"));
    let example = example.unwrap().split("```").next().unwrap();
    let prices = Prices::parse(example).unwrap();
    let price = prices
        .price("pro", at("2026-11-02T00:00:00Z"), "EUR".parse().unwrap())
        .unwrap();
    // 4000/(43800 · 0.3) + 0.3 · 0.30 = 0.394414 an hour, 58 tokens/s.
    assert_eq!(price.per_token.output_picos, 1_888_956);
}

/// Changes one thing in a good file; the error must say `expected`.
fn refused(from: &str, to: &str, expected: &str) {
    const GOOD: &str = r#"
[peak_hours]
utc_offset = "+08:00"
weekdays = ["mon"]
windows = ["09:00-12:00"]
holidays = [2026-01-01]
[[price]]
id = "a"
tier = "flash"
kind = "table"
from = 2026-09-10T00:00:00+08:00
peak = 2
USD = { hit = 0.003, miss = 0.15, output = 0.60 }
[[price]]
id = "b"
tier = "flash"
kind = "table"
from = 2026-09-11T00:00:00+08:00
USD = { hit = "0.003", miss = 1, output = 0.60 }
"#;
    Prices::parse(GOOD).unwrap();
    assert!(GOOD.contains(from));
    let text = format!("{GOOD}{}", if from.is_empty() { to } else { "" });
    let text = if from.is_empty() {
        text
    } else {
        GOOD.replacen(from, to, 1)
    };
    let error = Prices::parse(&text).unwrap_err().to_string();
    assert!(error.contains(expected), "{to}: {error}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    refused(
        "kind = \"table\"",
        "kind = \"tabel\"",
        "expected one of `table`, `free`, `self-host`",
    );
    refused("tier = \"flash\"\n", "", "missing field `tier`");
    refused(
        "id = \"a\"",
        "id = \"a b\"",
        "price \"a b\": id is \"a b\": expected 1 to 64 letters",
    );
    refused(
        "id = \"b\"",
        "id = \"a\"",
        "price \"a\": there are two with this id",
    );
    refused(
        "2026-09-11",
        "2026-09-10",
        "price \"b\": price \"a\" is for the same tier and currency",
    );
    refused(
        "2026-09-10T00:00:00+08:00",
        "2026-09-10",
        "from is 2026-09-10: expected a date and time with its UTC offset",
    );
    refused(
        "hit = 0.003",
        "hit = -0.003",
        "price \"a\": USD.hit is -0.003: expected a price per 1,000,000 tokens",
    );
    refused("hit = 0.003", "hit = 0.0000003", "at most six decimals");
    refused("hit = 0.003", "hit = nan", "USD.hit is NaN");
    refused("hit = 0.003, ", "", "USD: missing field `hit`");
    refused("hit = 0.003", "hits = 0.003", "USD: unknown field `hits`");
    refused(
        "USD = {",
        "dollar = {",
        "price \"a\": dollar is neither a key of a price nor a currency",
    );
    refused(
        "peak = 2",
        "peek = 2",
        "price \"a\": peek is neither a key of a price nor a currency",
    );
    refused(
        "peak = 2",
        "utilisation = 2",
        "price \"a\": utilisation does not belong to this kind of price",
    );
    refused("peak = 2", "peak = 0", "peak is 0: expected a factor above 0");
    refused("peak = 2", "peak = 2.0005", "at most three decimals");
    refused(
        "+08:00\"",
        "8\"",
        "peak_hours: utc_offset is \"8\": expected one such as \"+08:00\"",
    );
    refused("\"mon\"", "\"Monday\"", "\"Monday\" is no weekday: expected mon");
    refused("09:00-12:00", "9-12", "\"9-12\" is no window");
    refused(
        "[2026-01-01]",
        "[2026-01-01T00:00:00]",
        "is no date: expected one such as 2026-01-01",
    );
    refused(
        "[peak_hours]",
        "[peakhours]",
        "unknown field `peakhours`, expected `peak_hours` or `price`",
    );
    refused(
        "",
        "[[price]]\nid=\"c\"\ntier=\"c\"\nkind=\"free\"\nfrom=2026-01-01T00:00:00Z\nUSD={}\n",
        "USD does not belong",
    );
    refused(
        "",
        "[[price]]\nid=\"c\"\ntier=\"c\"\nkind=\"table\"\nfrom=2026-01-01T00:00:00Z\n",
        "at least one currency",
    );
    refused(
        "",
        "[[price]]\nid=\"c\"\ntier=\"c\"\nkind=\"self-host\"\nfrom=2026-01-01T00:00:00Z\n",
        "prefill_tokens_per_second is missing",
    );
    refused(
        "",
        "price = 3",
        "price \"b\": price is neither a key of a price nor",
    );
    let without_hours = SELF_HOST.replace("utilisation = 0.5", "utilisation = 0.5\npeak = 2");
    let error = Prices::parse(&without_hours).unwrap_err().to_string();
    assert!(error.contains("add a [peak_hours] table"), "{error}");
}

#[test]
fn a_file_is_named_in_its_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prices.toml");
    let error = Prices::read(&path).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read the prices in ") && error.contains("prices.toml"),
        "{error}"
    );
    std::fs::write(&path, "price = 1").unwrap();
    let error = Prices::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("prices.toml are not usable: TOML parse error at line 1"),
        "{error}"
    );
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    let error = Prices::read(&path).unwrap_err().to_string();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
    std::fs::write(&path, SELF_HOST).unwrap();
    Prices::read(&path).unwrap();
}

proptest! {
    #[test]
    fn any_text_is_prices_or_an_error(text in "\\PC{0,200}") {
        let _ = Prices::parse(&text);
    }

    /// Real files with one byte changed: parsed or refused, and what is parsed answers any question.
    #[test]
    fn damaged_files_do_not_panic(which in 0..2_usize, place: prop::sample::Index, byte in 0x20_u8..0x7f, seconds in -377_000_000_000_i64..253_000_000_000) {
        let mut text = [DEEPSEEK, SELF_HOST][which].as_bytes().to_vec();
        let place = place.index(text.len());
        text[place] = byte;
        let text = String::from_utf8_lossy(&text);
        if let Ok(prices) = Prices::parse(&text) {
            let moment = Timestamp::from_second(seconds).unwrap();
            for tier in prices.tiers() {
                for currency in prices.currencies(tier) {
                    let price = prices.price(tier, moment, currency);
                    let tokens = Tokens { hit: u64::MAX, miss: 1, output: u64::MAX, reasoning: 0 };
                    prop_assert!(price.is_none_or(|price| price.cost(&tokens) >= Money::ZERO));
                }
            }
        }
    }

    /// A price never falls between two moments without an entry that begins there, other than by peak hours ending.
    #[test]
    fn the_latest_entry_that_has_begun_is_in_force(seconds in 1_776_000_000_i64..1_800_000_000) {
        let prices = Prices::deepseek();
        let moment = Timestamp::from_second(seconds).unwrap();
        let dates = ["2026-04-24", "2026-04-26", "2026-08-17", "2026-09-10"];
        let begun = dates.iter().rfind(|date| at(&format!("{date}T00:00:00+08:00")) <= moment);
        let price = prices.price("flash", moment, Currency::USD);
        prop_assert_eq!(price.is_some(), begun.is_some());
        if let (Some(price), Some(date)) = (price, begun) {
            let id = price.id.trim_end_matches("/peak");
            prop_assert_eq!(id, format!("flash-{date}"));
            prop_assert_eq!(price.id.ends_with("/peak"), date.as_bytes() >= b"2026-08-17".as_slice() && prices.is_peak(moment));
        }
    }
}
