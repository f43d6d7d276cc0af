//! What tokens cost on a machine of one's own.
//!
//! An hour in which the machine works costs its share of the hardware and the power it draws:
//!
//! ```text
//! hourly = hardware_price / (lifetime_hours · utilisation)
//!        + power_watts / 1000 · price_per_kwh
//!        + idle_watts / 1000 · price_per_kwh · (1 − utilisation) / utilisation
//! ```
//!
//! `utilisation` is the share of the lifetime in which the machine works: hours in which it waits are paid for by those in which it
//! works. A million tokens then cost
//!
//! ```text
//! miss   = hourly / 3600 · 1,000,000 / prefill_tokens_per_second
//! output = hourly / 3600 · 1,000,000 / decode_tokens_per_second
//! hit    = 0
//! ```
//!
//! with the rates of the whole machine, all requests together, as `fathom bench` measures them or as the server's metrics report
//! them. A hit takes the time to copy a state, thousands of times less than computing it, and is given away. Prefill and
//! decode are priced as if each had the machine to itself; steps that share both make it cheaper than that.
//!
//! Results are rounded to six decimals per million tokens.

use super::PerToken;

/// A machine and its rates. All are finite and positive; `utilisation` is at most 1; `idle_watts`, `hardware_price`, `power_watts`
/// and `price_per_kwh` may be 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Prompt tokens computed per second.
    pub prefill_tokens_per_second: f64,
    /// Tokens generated per second, all requests together.
    pub decode_tokens_per_second: f64,
    /// Electrical power while it works, at the wall, in W.
    pub power_watts: f64,
    /// Power while it waits, in W.
    pub idle_watts: f64,
    /// Price of 1 kWh.
    pub price_per_kwh: f64,
    /// What the machine cost.
    pub hardware_price: f64,
    /// Hours from buying it to scrapping it; five years are 43,800.
    pub lifetime_hours: f64,
    /// Share of those hours in which it works, above 0, at most 1.
    pub utilisation: f64,
}

impl Machine {
    /// The price per token, or which figure cannot be.
    pub fn per_token(&self) -> Result<PerToken, String> {
        let positive = [
            ("prefill_tokens_per_second", self.prefill_tokens_per_second),
            ("decode_tokens_per_second", self.decode_tokens_per_second),
            ("lifetime_hours", self.lifetime_hours),
            ("utilisation", self.utilisation),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("{name} is {value}: expected a number above 0"));
            }
        }
        let not_negative = [
            ("power_watts", self.power_watts),
            ("idle_watts", self.idle_watts),
            ("price_per_kwh", self.price_per_kwh),
            ("hardware_price", self.hardware_price),
        ];
        for (name, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("{name} is {value}: expected 0 or more"));
            }
        }
        if self.utilisation > 1.0 {
            return Err(format!(
                "utilisation is {}: expected a share of the hours, at most 1",
                self.utilisation
            ));
        }
        let busy_kwh = self.power_watts / 1_000.0;
        let idle_kwh = self.idle_watts / 1_000.0 * (1.0 - self.utilisation) / self.utilisation;
        let hourly = self.hardware_price / (self.lifetime_hours * self.utilisation)
            + (busy_kwh + idle_kwh) * self.price_per_kwh;
        let picos = |tokens_per_second: f64| {
            let picos = (hourly / 3_600.0 / tokens_per_second * 1e12).round();
            // A million units of the currency for one token: somebody mistook a unit.
            if picos < 1e18 {
                Ok(picos as u64)
            } else {
                Err(format!(
                    "a token would cost {:.0}: check the units of the figures",
                    picos / 1e12
                ))
            }
        };
        Ok(PerToken {
            hit_picos: 0,
            miss_picos: picos(self.prefill_tokens_per_second)?,
            output_picos: picos(self.decode_tokens_per_second)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        prefill_tokens_per_second: 400.0,
        decode_tokens_per_second: 40.0,
        power_watts: 300.0,
        idle_watts: 100.0,
        price_per_kwh: 0.25,
        hardware_price: 4_380.0,
        lifetime_hours: 43_800.0,
        utilisation: 0.5,
    };

    #[test]
    fn the_formula_by_hand() {
        // 4380/(43800·0.5) = 0.2 an hour; 0.3 kW · 0.25 = 0.075; 0.1 kW · 0.25 · 1 = 0.025: together 0.30 an hour.
        // 400 tokens/s are 1.44 M an hour: 0.208333 per million; 40 tokens/s ten times that.
        let price = MACHINE.per_token().unwrap();
        assert_eq!(
            (price.hit_picos, price.miss_picos, price.output_picos),
            (0, 208_333, 2_083_333)
        );
    }

    #[test]
    fn figures_that_cannot_be_are_named() {
        let cases = [
            (
                Machine {
                    utilisation: 1.5,
                    ..MACHINE
                },
                "utilisation is 1.5",
            ),
            (
                Machine {
                    utilisation: 0.0,
                    ..MACHINE
                },
                "utilisation is 0",
            ),
            (
                Machine {
                    decode_tokens_per_second: f64::NAN,
                    ..MACHINE
                },
                "decode_tokens_per_second is NaN",
            ),
            (
                Machine {
                    power_watts: -1.0,
                    ..MACHINE
                },
                "power_watts is -1",
            ),
            (
                Machine {
                    decode_tokens_per_second: 1e-300,
                    ..MACHINE
                },
                "check the units",
            ),
        ];
        for (machine, expected) in cases {
            let error = machine.per_token().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
