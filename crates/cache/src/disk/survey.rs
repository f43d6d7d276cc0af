//! What a directory holds, for people: headers are read, nothing is changed and nobody is kept from writing.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::file::PositionedFile;
use super::format::{ALIGN, Found, SEGMENT_HEADER, read_payload};
use super::recover::recover;
use super::{DiskOpenError, Record, Skipped};

/// A directory as it was at one moment.
#[derive(Debug)]
pub struct Survey {
    /// The models that have records in it, by identity.
    pub models: Vec<SurveyedModel>,
    /// Number of segments that could be read.
    pub segments: u64,
    /// Bytes of them, and of segments of ours that hold nothing usable.
    pub file_bytes: u64,
    /// What could not be used.
    pub skipped: Skipped,
}

/// Records of one model.
#[derive(Debug)]
pub struct SurveyedModel {
    /// Its identity.
    pub identity: [u8; 32],
    /// Its name for people, as it was given last; may be empty.
    pub label: String,
    /// Its records in use, in the order in which they lie on disk.
    pub records: Vec<SurveyedRecord>,
}

/// A record and its place.
#[derive(Debug)]
pub struct SurveyedRecord {
    /// What it is.
    pub record: Record,
    /// When it was written, Unix seconds.
    pub created: u64,
    /// When it was used last, Unix seconds.
    pub used: u64,
    /// What it takes on disk, header and padding included.
    pub disk_bytes: u64,
    file: Arc<PositionedFile>,
    payload_at: u64,
    sum: u128,
}

/// What reading a payload showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was written.
    Sound,
    /// Its checksum is wrong.
    Damaged,
    /// The operating system could not read it.
    Unreadable,
}

/// Looks at a directory.
pub fn survey(dir: &Path) -> Result<Survey, DiskOpenError> {
    let contents = recover(dir, false).map_err(|error| DiskOpenError::List {
        dir: dir.to_owned(),
        error,
    })?;
    let mut models: BTreeMap<[u8; 32], SurveyedModel> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut file_bytes = contents.useless.iter().map(|useless| useless.len).sum();
    let segments = contents.segments.len() as u64;
    for segment in contents.segments {
        file_bytes += segment.len;
        let identity = segment.header.identity;
        let model = models.entry(identity).or_insert_with(|| SurveyedModel {
            identity,
            label: String::new(),
            records: Vec::new(),
        });
        if !segment.header.label.is_empty() {
            model.label = segment.header.label;
        }
        for found in segment.found {
            if !found.stamp.dropped && seen.insert(found.header.key) {
                model
                    .records
                    .push(SurveyedRecord::new(found, Arc::clone(&segment.file)));
            }
        }
    }
    Ok(Survey {
        models: models.into_values().collect(),
        segments,
        file_bytes,
        skipped: contents.skipped,
    })
}

impl Survey {
    /// Bytes of records in use, headers included.
    pub fn live_bytes(&self) -> u64 {
        self.models
            .iter()
            .flat_map(|model| &model.records)
            .map(|record| record.disk_bytes)
            .sum()
    }

    /// Bytes that the next cleaning can free: dropped, torn and damaged records.
    pub fn dead_bytes(&self) -> u64 {
        let headers = self.segments * SEGMENT_HEADER as u64;
        self.file_bytes.saturating_sub(self.live_bytes() + headers)
    }
}

impl SurveyedRecord {
    fn new(found: Found, file: Arc<PositionedFile>) -> Self {
        Self {
            created: found.header.created,
            used: u64::from(found.stamp.used),
            disk_bytes: found.header.payload_at() + found.header.payload.next_multiple_of(ALIGN),
            file,
            payload_at: found.at + found.header.payload_at(),
            sum: found.header.sum,
            record: Record::from(found),
        }
    }

    /// Reads the payload. `buffer` is scratch memory.
    pub fn verify(&self, buffer: &mut Vec<u8>) -> Verdict {
        buffer.clear();
        // No longer than the file, which the header was checked against.
        buffer.resize(self.record.bytes as usize, 0);
        match read_payload(&self.file, self.payload_at, &self.record.key, self.sum, buffer) {
            Ok(true) => Verdict::Sound,
            Ok(false) => Verdict::Damaged,
            Err(_) => Verdict::Unreadable,
        }
    }
}
