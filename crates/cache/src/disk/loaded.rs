//! What was found in a directory, made ready for use.

use std::cmp::Reverse;

use super::index::{Entry, Index, Segment};
use super::recover::Contents;
use super::{Foreign, Record, Skipped};

/// An index of a directory, and what its users are told of it.
pub(super) struct Loaded {
    pub(super) index: Index,
    /// Records of the model that opens the directory, oldest use first.
    pub(super) own: Vec<Record>,
    pub(super) foreign: Foreign,
    /// The segment that this model's records were last appended to, if it can be gone on with.
    pub(super) last_own: Option<u64>,
    pub(super) skipped: Skipped,
}

impl Loaded {
    pub(super) fn new(contents: Contents, identity: &[u8; 32]) -> Self {
        let mut index = Index::default();
        let mut own = Vec::new();
        let mut foreign = Foreign::default();
        let mut last_own = None;
        for useless in contents.useless {
            // They take room until it is needed.
            let segment = Segment {
                path: useless.path,
                file: useless.file,
                identity: [0; 32],
                label: String::new(),
                len: useless.len,
                live: 0,
                open: false,
            };
            index.segments.insert(useless.number, segment);
        }
        for recovered in contents.segments {
            let ours = recovered.header.identity == *identity;
            if ours {
                last_own = recovered.clean.then_some(recovered.number);
            } else if !foreign.identities.contains(&recovered.header.identity) {
                foreign.identities.push(recovered.header.identity);
            }
            let segment = Segment {
                path: recovered.path,
                file: recovered.file,
                identity: recovered.header.identity,
                label: recovered.header.label,
                len: recovered.len,
                live: 0,
                open: false,
            };
            index.segments.insert(recovered.number, segment);
            for found in recovered.found {
                let header = &found.header;
                let entry = Entry::new(recovered.number, found.at, header, found.stamp, ours);
                if found.stamp.dropped || !index.insert(header.key, entry) {
                    continue;
                }
                if ours {
                    own.push((found.stamp.tick, Record::from(found)));
                } else if header.position == header.tokens.len() as u64 {
                    foreign.first_pages.insert(header.key);
                }
            }
        }
        // What is used together has neighbouring ticks; equal ones (damage) must not depend on the order of files.
        own.sort_by_key(|(tick, record)| (*tick, Reverse(record.position), record.key));
        Self {
            index,
            own: own.into_iter().map(|(_, record)| record).collect(),
            foreign,
            last_own,
            skipped: contents.skipped,
        }
    }
}
