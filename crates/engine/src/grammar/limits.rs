//! Bounds on what a grammar may cost: schemas come from strangers.

use llguidance::api::ParserLimits;

/// Longest grammar or regular expression, in bytes; also of all schemas of a constraint together.
pub(super) const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of a schema.
pub(super) const DEPTH_MAX: usize = 64;
/// Most schemas within one.
pub(super) const SCHEMAS_MAX: usize = 20_000;
/// Most items, properties or characters that a schema may count.
pub(super) const COUNT_MAX: u64 = 20_000;
/// Most bytes of schemas that are copied because properties refer to parts of them.
pub(super) const EXCERPT_BYTES_MAX: usize = 16 << 20;
/// Most tools of a constraint.
pub(super) const TOOLS_MAX: usize = 1024;

/// Bounds of the grammar engine. A mask then costs at most some ten milliseconds, a compilation some hundred, and what a
/// grammar remembers some tens of megabytes.
pub(super) fn apply(limits: &mut ParserLimits) {
    limits.initial_lexer_fuel = 2_000_000;
    limits.step_lexer_fuel = 200_000;
    limits.step_max_items = 50_000;
    limits.max_lexer_states = 20_000;
    limits.max_grammar_size = 300_000;
    limits.verbose_errors = false;
}
