//! The models that are served: from what was said to engines.
//!
//! [`wanted`] gathers what was said, [`Planned`] opens the checkpoints (their headers, not their weights), gives out names and
//! memory, and finds everything that is wrong; only then is anything loaded.

mod budget;
mod load;
mod name;
mod planned;
pub(crate) mod spec;
pub(crate) mod table;
mod wanted;

pub(crate) use load::{Described, load};
pub(crate) use planned::{Planned, plan, rows};
pub(crate) use wanted::{keys, wanted};
