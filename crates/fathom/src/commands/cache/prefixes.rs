//! Records put together to what people think of: conversations and their beginnings.

use std::collections::{HashMap, HashSet};

use fathom_cache::Key;
use fathom_cache::disk::{Kind, SurveyedModel, SurveyedRecord};

/// A run of pages to whose end nothing is added, with the snapshots on the way.
pub(super) struct Prefix {
    /// Key of its last page (or of a snapshot that has no page).
    pub(super) key: Key,
    /// Tokens from the beginning to its end.
    pub(super) tokens: u64,
    /// Bytes on disk of its pages and snapshots that no prefix further up in the list has as well.
    pub(super) own_bytes: u64,
    pub(super) snapshots: u64,
    pub(super) pinned: bool,
    /// Unix seconds.
    pub(super) used: u64,
    /// A page before it is missing: it cannot be used.
    pub(super) broken: bool,
}

/// The prefixes of a model, the one used last first. What several share is counted with the first of them.
pub(super) fn prefixes(model: &SurveyedModel) -> Vec<Prefix> {
    let by_key: HashMap<Key, &SurveyedRecord> = model
        .records
        .iter()
        .map(|record| (record.record.key, record))
        .collect();
    let mut snapshots: HashMap<Key, Vec<&SurveyedRecord>> = HashMap::new();
    let mut followed: HashSet<Key> = HashSet::new();
    for record in &model.records {
        match record.record.kind {
            Kind::Page => {
                followed.insert(record.record.parent);
            }
            Kind::Snapshot => snapshots.entry(record.record.parent).or_default().push(record),
        }
    }
    let is_page = |key: &Key| {
        by_key
            .get(key)
            .is_some_and(|record| record.record.kind == Kind::Page)
    };
    // Its last page, or a snapshot that follows no page at all.
    let mut ends: Vec<&SurveyedRecord> = model
        .records
        .iter()
        .filter(|record| match record.record.kind {
            Kind::Page => !followed.contains(&record.record.key),
            Kind::Snapshot => !is_page(&record.record.parent),
        })
        .collect();
    let last_use = |record: &SurveyedRecord| {
        let snapshots = snapshots.get(&record.record.key).into_iter().flatten();
        snapshots
            .map(|snapshot| snapshot.used)
            .fold(record.used, u64::max)
    };
    ends.sort_by_key(|record| {
        (
            std::cmp::Reverse(last_use(record)),
            record.record.position,
            record.record.key,
        )
    });
    let mut counted = HashSet::new();
    ends.into_iter()
        .map(|end| {
            let mut prefix = Prefix {
                key: end.record.key,
                tokens: end.record.position,
                own_bytes: 0,
                snapshots: u64::from(end.record.kind == Kind::Snapshot),
                pinned: end.record.pinned,
                used: last_use(end),
                broken: false,
            };
            let mut at = Some(end);
            while let Some(record) = at {
                let new = counted.insert(record.record.key);
                prefix.own_bytes += if new { record.disk_bytes } else { 0 };
                for snapshot in snapshots.get(&record.record.key).into_iter().flatten() {
                    prefix.snapshots += 1;
                    prefix.pinned |= snapshot.record.pinned;
                    prefix.tokens = prefix.tokens.max(snapshot.record.position);
                    if new && counted.insert(snapshot.record.key) {
                        prefix.own_bytes += snapshot.disk_bytes;
                    }
                }
                at = by_key.get(&record.record.parent).copied();
                let first = record.record.position == record.record.tokens.len() as u64;
                prefix.broken |= at.is_none() && !first;
            }
            prefix
        })
        .collect()
}
