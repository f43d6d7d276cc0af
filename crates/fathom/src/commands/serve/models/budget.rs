//! Memory for all models together: what each needs, and how what is left is shared out.

use fathom_engine::memory::{Bytes, STATES_BYTES_MIN};

/// What a model needs.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) name: String,
    /// Bytes of weights that have to be brought into memory; those inside the program are there.
    pub(crate) weight_bytes: u64,
    /// Scratch memory, estimated, in bytes.
    pub(crate) workspace_bytes: u64,
    /// What `cache-ram` says, in bytes.
    pub(crate) states_bytes: Option<u64>,
    /// By how much a context grows.
    pub(crate) bytes_per_token: f64,
}

impl Need {
    /// The least that it needs for states.
    fn states_bytes_min(&self) -> u64 {
        // A model of no weight is there to be tried on whatever machine there is.
        let least = if self.weight_bytes == 0 {
            0
        } else {
            STATES_BYTES_MIN
        };
        self.states_bytes.unwrap_or(least)
    }

    fn bytes_min(&self) -> u64 {
        [self.weight_bytes, self.workspace_bytes, self.states_bytes_min()]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Bytes for the states of each model: what was said for it, else its share of half of what is left beside everything. Shares
/// hold equally many tokens.
pub(crate) fn states_bytes(needs: &[Need], available: Option<u64>) -> Vec<u64> {
    let taken = needs
        .iter()
        .map(|need| need.weight_bytes + need.workspace_bytes + need.states_bytes.unwrap_or(0))
        .fold(0, u64::saturating_add);
    let left = available.unwrap_or(0).saturating_sub(taken) / 2;
    let open = |need: &&Need| need.states_bytes.is_none();
    let tokens = left as f64
        / needs
            .iter()
            .filter(open)
            .map(|need| need.bytes_per_token)
            .sum::<f64>();
    let share = |need: &Need| {
        let share = (tokens * need.bytes_per_token) as u64;
        need.states_bytes.unwrap_or(share.max(STATES_BYTES_MIN))
    };
    needs.iter().map(share).collect()
}

/// Checks that everything fits. What does not is said model by model, with what can be changed.
pub(crate) fn check(needs: &[Need], available: Option<u64>) -> Result<(), String> {
    let needed = needs.iter().map(Need::bytes_min).fold(0, u64::saturating_add);
    let Some(available) = available.filter(|available| needed > *available) else {
        return Ok(());
    };
    let each = needs.iter().map(|need| {
        format!(
            "{} {} of weights, {} of scratch, {} of states{}",
            need.name,
            Bytes(need.weight_bytes),
            Bytes(need.workspace_bytes),
            Bytes(need.states_bytes_min()),
            if need.states_bytes.is_some() {
                " (cache-ram)"
            } else {
                " at least"
            },
        )
    });
    let states = needs.iter().filter_map(|need| need.states_bytes).sum::<u64>();
    let advice = if needed - available <= states {
        "Give a smaller --cache-ram"
    } else if needs.len() > 1 {
        "Serve fewer or smaller models"
    } else {
        "Choose a smaller model or a machine with more memory"
    };
    Err(format!(
        "not enough memory: {} needed, {} available ({}). {advice}, or pass --ignore-memory to try anyway",
        Bytes(needed),
        Bytes(available),
        each.collect::<Vec<_>>().join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn need(name: &str, weights: u64, states: Option<u64>, bytes_per_token: f64) -> Need {
        Need {
            name: name.to_owned(),
            weight_bytes: weights,
            workspace_bytes: 0,
            states_bytes: states,
            bytes_per_token,
        }
    }

    #[test]
    fn what_is_left_is_shared_by_tokens() {
        let needs = [
            need("pro", 800 * GIB, None, 5000.0),
            need("flash", 150 * GIB, None, 3000.0),
            need("said", 0, Some(2 * GIB), 3000.0),
            need("small", 0, None, 0.0),
        ];
        assert_eq!(
            states_bytes(&needs, Some(1112 * GIB)),
            [50 * GIB, 30 * GIB, 2 * GIB, STATES_BYTES_MIN]
        );
        // One alone has half of what is left, and never less than small contexts take.
        assert_eq!(states_bytes(&needs[1..2], Some(170 * GIB)), [10 * GIB]);
        assert_eq!(states_bytes(&needs[1..2], Some(GIB)), [STATES_BYTES_MIN]);
        assert_eq!(states_bytes(&needs[1..2], None), [STATES_BYTES_MIN]);
    }

    #[test]
    fn what_does_not_fit_is_said_for_each() {
        let needs = [
            need("pro", 800 * GIB, None, 5000.0),
            need("flash", 150 * GIB, Some(2 * GIB), 3000.0),
        ];
        assert_eq!(check(&needs, Some(953 * GIB)), Ok(()));
        assert_eq!(check(&needs, None), Ok(()));
        assert_eq!(
            check(&needs, Some(24 * GIB)).unwrap_err(),
            "not enough memory: 952.2 GiB needed, 24.0 GiB available (pro 800.0 GiB of weights, 0 B of scratch, 256.0 MiB \
             of states at least; flash 150.0 GiB of weights, 0 B of scratch, 2.0 GiB of states (cache-ram)). Serve fewer or \
             smaller models, or pass --ignore-memory to try anyway"
        );
        let message = check(&needs, Some(951 * GIB)).unwrap_err();
        assert!(message.contains(". Give a smaller --cache-ram, or"), "{message}");
        // The built-in model runs wherever it can.
        assert_eq!(check(&[need("small", 0, None, 60.0)], Some(1)), Ok(()));
    }
}
