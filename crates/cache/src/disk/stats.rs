//! What the disk tier counts.

/// Files and records that were found on opening and not used, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Cut off by the end of their file: the process or the machine stopped while they were written.
    pub torn: u64,
    /// A checksum is wrong: stretches of damaged headers, damaged segment headers.
    pub checksum: u64,
    /// Segments in a format of another version.
    pub version: u64,
    /// Files that are not segments, whatever their name.
    pub foreign: u64,
    /// Records whose key does not follow from their token ids.
    pub misnamed: u64,
    /// Files that the operating system did not let us read.
    pub unreadable: u64,
}

impl Skipped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.torn + self.checksum + self.version + self.foreign + self.misnamed + self.unreadable
    }
}

impl std::ops::AddAssign for Skipped {
    fn add_assign(&mut self, other: Self) {
        self.torn += other.torn;
        self.checksum += other.checksum;
        self.version += other.version;
        self.foreign += other.foreign;
        self.misnamed += other.misnamed;
        self.unreadable += other.unreadable;
    }
}

/// Counts and bytes of the disk tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Nothing is written: the directory cannot be, or another process holds it.
    pub read_only: bool,
    /// Records that can be read, of this model.
    pub records: u64,
    /// Records of other models in the same directory.
    pub other_records: u64,
    /// Bytes of all records in use, headers included, of all models.
    pub live_bytes: u64,
    /// Bytes of all segments.
    pub file_bytes: u64,
    /// What the segments may take.
    pub budget_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Records and bytes waiting to be written.
    pub queued_records: u64,
    /// Bytes of their payloads.
    pub queued_bytes: u64,
    /// What opening the directory skipped.
    pub skipped: Skipped,
    /// Records written since then, and bytes of their payloads.
    pub written_records: u64,
    /// Bytes of their payloads.
    pub written_bytes: u64,
    /// Records read and found sound since then.
    pub read_records: u64,
    /// Bytes of their payloads.
    pub read_bytes: u64,
    /// Records found damaged when they were read: dropped.
    pub damaged: u64,
    /// Records that could not be read: dropped.
    pub unreadable: u64,
    /// Records dropped for room.
    pub evicted: u64,
    /// Records not taken because the queue was full.
    pub queue_full: u64,
    /// Records not taken because writing rests after an error, or not written because of one.
    pub refused: u64,
    /// Records that found no room: larger than the budget, or all else is pinned.
    pub no_room: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Bytes copied to reclaim segments.
    pub moved_bytes: u64,
}
