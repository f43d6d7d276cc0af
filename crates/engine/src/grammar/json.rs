//! JSON by schema.

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar, ValidationResult};
use serde_json::{Map, Value, json};

use super::error::{GrammarError, plain};
use super::format::regexes;
use super::limits;
use super::schema::{Budget, Rigour, children, excerpt, for_each, prepared};

/// Space between the tokens of JSON: a blank, or a line break and some indentation. Not more, for a model that has lost its
/// way would go on writing blanks for ever.
const SPACE: &str = r"[ \t]|\r?\n[ \t]{0,64}";

/// Schemas tried to find out which one is refused.
const TRIES_MAX: usize = 40;

/// `schema` with instructions on how to lay JSON out, and to leave out what cannot be enforced if that is wanted.
pub(super) fn with_layout(schema: &Value, rigour: Rigour) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        schema => schema.clone(),
    };
    for_each(&mut schema, &spell_format_out);
    if let Some(keywords) = schema.as_object_mut() {
        keywords.insert(
            "x-guidance".to_owned(),
            json!({"whitespace_pattern": SPACE, "lenient": rigour == Rigour::Lenient}),
        );
    }
    schema
}

/// Replaces a format that [`format`](super::format) knows by patterns: those of the grammar engine let pass what is too long.
fn spell_format_out(keywords: &mut Map<String, Value>) {
    let format = keywords.get("format").and_then(Value::as_str);
    let Some(regexes) = format.and_then(regexes) else {
        return;
    };
    keywords.remove("format");
    let patterns = regexes
        .into_iter()
        .map(|regex| json!({"pattern": format!("^(?:{regex})$")}));
    // If this is no list, the grammar engine will say so.
    if let Value::Array(all) = keywords.entry("allOf").or_insert_with(|| json!([])) {
        all.extend(patterns);
    }
}

/// As much of `schema` as can be enforced; in the end, its type.
pub(super) fn as_far_as_possible(schema: &Value) -> Value {
    let prepared = prepared(schema, "schema", Rigour::Lenient, &mut Budget::default());
    let whole = prepared.map(|schema| with_layout(&schema, Rigour::Lenient));
    if let Ok(schema) = whole
        && compile(&schema).is_ok()
    {
        return schema;
    }
    let rest = match schema.get("type") {
        Some(kind) => json!({"type": kind}),
        None => json!({}),
    };
    let rest = with_layout(&rest, Rigour::Lenient);
    match compile(&rest) {
        Ok(()) => rest,
        Err(_) => with_layout(&json!({}), Rigour::Lenient),
    }
}

/// Refuses a schema that does not compile, and says which part of it is at fault.
pub(super) fn check(schema: &Value, place: &str) -> Result<(), GrammarError> {
    let Err(problem) = compile(schema) else {
        return Ok(());
    };
    let mut tries = TRIES_MAX;
    let (at, problem) = fault(schema, schema, String::new(), problem, &mut tries);
    Err(GrammarError::refused(format!("{place}{at}"), problem))
}

/// The innermost schema that does not compile, and why.
fn fault(root: &Value, schema: &Value, at: String, problem: String, tries: &mut usize) -> (String, String) {
    for (step, child) in children(schema) {
        if *tries == 0 {
            break;
        }
        *tries -= 1;
        let at = format!("{at}{step}");
        if let Err(problem) = compile(&excerpt(root, &at, child)) {
            return fault(root, child, at, problem, tries);
        }
    }
    (at, problem)
}

fn compile(schema: &Value) -> Result<(), String> {
    let mut bounds = ParserLimits::default();
    limits::apply(&mut bounds);
    let grammar = TopLevelGrammar::from_json_schema(schema.clone());
    match GrammarInit::Serialized(grammar).validate(None, bounds) {
        ValidationResult::Error(problem) => Err(plain(&problem)),
        ValidationResult::Valid | ValidationResult::Warnings(_) => Ok(()),
    }
}
