//! Who may ask, how much at a time, and what is kept of it.

mod admission;
mod caller;
mod host;
mod ledger;

pub(crate) use admission::{Admission, Entry, Place};
pub(crate) use caller::{Admin, Caller};
pub(crate) use host::check_name;
pub(crate) use ledger::Ledger;
