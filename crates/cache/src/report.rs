//! What a lookup says about itself.

/// What a request gets from the cache, and why not more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Prompt tokens that need not be computed.
    pub hit: usize,
    /// Prompt tokens whose entries are there but which are computed again, because no snapshot is near.
    pub replayed: usize,
    /// Why the hit ends where it does.
    pub miss: Miss,
}

/// Why a hit is no longer than it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Miss {
    /// It is as long as was asked for.
    #[default]
    None,
    /// The tokens part from what is stored.
    Differs {
        /// Position of the first token that is not the stored one.
        at: usize,
        /// The stored id, of the stored sequence that agrees longest.
        cached: u32,
        /// The id asked for.
        found: u32,
    },
    /// It was there and made room for something else.
    Evicted,
    /// It is stored under another isolation id, which this request may not use. Tells that somebody else has sent the same
    /// beginning: for logs, not for other tenants.
    OtherIsolation,
    /// It is on disk, made by another model or with other numerics.
    OtherModel,
    /// Less than a page is left, and less than a page is not kept without a snapshot.
    BelowOnePage,
    /// Pages go further than the nearest snapshot, so that tokens have to be computed again.
    NoSnapshot,
    /// A record on disk could not be read, or was not what was written; it was dropped.
    Damaged,
    /// Nothing like it was seen since the cache began, or so long ago that it is forgotten.
    NeverSeen,
}

impl Miss {
    /// Reasons in the order of [`Miss::index`], as words for logs and statistics.
    pub const NAMES: [&'static str; 9] = [
        "none",
        "differs",
        "evicted",
        "other_isolation",
        "other_model",
        "below_one_page",
        "no_snapshot",
        "damaged",
        "never_seen",
    ];

    /// Number of the reason in [`Miss::NAMES`].
    pub fn index(&self) -> usize {
        match self {
            Miss::None => 0,
            Miss::Differs { .. } => 1,
            Miss::Evicted => 2,
            Miss::OtherIsolation => 3,
            Miss::OtherModel => 4,
            Miss::BelowOnePage => 5,
            Miss::NoSnapshot => 6,
            Miss::Damaged => 7,
            Miss::NeverSeen => 8,
        }
    }

    /// The reason as a word.
    pub fn name(&self) -> &'static str {
        Miss::NAMES[self.index()]
    }
}
