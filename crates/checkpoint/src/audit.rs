//! A checkpoint held against everything its configuration says must be there.

use std::collections::{BTreeMap, BTreeSet};

use crate::census::Census;
use crate::checkpoint::Checkpoint;
use crate::dtype::Dtype;
use crate::error::CheckpointError;
use crate::layout::Layout;
use crate::parts::{Group, Kind, Part, announced_draft, parts};
use crate::profile::Draft;

/// Names quoted in full; more are only counted.
const NAMES_MAX: usize = 20;

/// The result of an audit.
#[derive(Debug, Default)]
pub struct Audit {
    /// What the files hold, by group and type.
    pub stored: BTreeMap<Group, BTreeMap<Dtype, Stored>>,
    /// Sizes of what is there, by group.
    pub census: Census,
    /// Tensors that should be there and are not.
    pub missing: Names,
    /// Tensors nothing asked for.
    pub unexpected: Names,
    /// Tensors that are there but cannot be used, each with the reason.
    pub wrong: Names,
}

/// Tensors and bytes of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Tensors.
    pub tensors: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A count, and the first few of what was counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}

impl Names {
    fn add(&mut self, name: String) {
        self.count += 1;
        if self.first.len() < NAMES_MAX {
            self.first.push(name);
        }
    }
}

impl Audit {
    /// Whether everything the model needs is there and usable.
    pub fn is_complete(&self) -> bool {
        self.missing.count == 0 && self.wrong.count == 0
    }
}

impl Checkpoint {
    /// Looks for every tensor the configuration implies, the draft module it announces included (but not in
    /// checkpoints saved by transformers, which drops it), and checks shapes, types and scales. Values are checked
    /// where loading checks them: in small tensors and routing tables.
    pub fn audit(&self) -> Audit {
        let draft = match self.layout() {
            Layout::Official => announced_draft(self.config()),
            Layout::Transformers | Layout::Saved => Draft::None,
        };
        let mut audit = Audit {
            census: Census::empty(self.config()),
            ..Audit::default()
        };
        let mut seen = BTreeSet::new();
        for part in parts(self.config(), draft) {
            match self.check(&part) {
                Ok(()) => {}
                Err(CheckpointError::MissingTensor { tensor }) => audit.missing.add(tensor),
                Err(CheckpointError::MissingScale { expected, .. }) => audit.missing.add(expected),
                Err(error) => audit.wrong.add(error.to_string()),
            }
            let (mut tensors, mut bytes) = (0, 0);
            for (name, tensor) in self.stored_under(&part) {
                if !seen.insert(name) {
                    continue;
                }
                let size = tensor.data.len() as u64;
                (tensors, bytes) = (tensors + 1, bytes + size);
                let stored = audit
                    .stored
                    .entry(part.group)
                    .or_default()
                    .entry(tensor.dtype)
                    .or_default();
                stored.tensors += 1;
                stored.bytes += size;
            }
            audit.census.add(&part, tensors, bytes);
        }
        for (name, _) in self.tensors() {
            if !seen.contains(name) {
                audit.unexpected.add(name.to_owned());
            }
        }
        audit
    }

    fn check(&self, part: &Part) -> Result<(), CheckpointError> {
        match &part.kind {
            Kind::Projection { rows, cols } | Kind::Expert { rows, cols } | Kind::Dense { rows, cols } => {
                self.matrix(&part.name, *rows, *cols).map(drop)
            }
            Kind::Norm { len } => self.vector(&part.name, &[*len]).map(drop),
            Kind::Float { shape } => self.vector(&part.name, shape).map(drop),
            Kind::Table { rows, cols } => self.table(&part.name, *rows, *cols).map(drop),
        }
    }
}
