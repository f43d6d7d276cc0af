//! JSON schemas from strangers: bounded, and without what cannot be enforced.

use serde_json::{Map, Value, json};

use super::error::GrammarError;
use super::limits::{COUNT_MAX, DEPTH_MAX, SCHEMAS_MAX};

/// Keywords that decide what is valid and that nothing here can enforce.
const NOT_ENFORCED: [&str; 18] = [
    "not",
    "if",
    "contains",
    "uniqueItems",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
    // These mean something beside others of this list only.
    "then",
    "else",
    "minContains",
];

/// Keywords that count something.
const COUNTS: [&str; 6] = [
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
];

/// Formats of strings that can be enforced.
const FORMATS: [&str; 10] = [
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];

/// Keywords whose value is a schema, a list of schemas, or an object of schemas.
const ONE: [&str; 3] = ["items", "additionalItems", "additionalProperties"];
const LIST: [&str; 5] = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "$def", "definitions"];

/// Where [`excerpt`] puts the schema that references lead into.
pub(super) const ROOT: &str = "x-root";
/// Where schemas are put that refer to another and stand nowhere in it; the beginning of their names.
pub(super) const CHANGED: &str = "x-changed";

/// What to do about what cannot be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rigour {
    /// Refuse the schema.
    Strict,
    /// Leave it out: what comes is as much of the schema as can be had.
    Lenient,
}

/// What all schemas of a constraint may still use up.
#[derive(Debug)]
pub(super) struct Budget {
    schemas: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { schemas: SCHEMAS_MAX }
    }
}

/// A copy of `schema` that can be compiled. `place` is where it stands, for messages.
pub(super) fn prepared(
    schema: &Value,
    place: &str,
    rigour: Rigour,
    budget: &mut Budget,
) -> Result<Value, GrammarError> {
    Preparation { rigour, budget }.schema(schema, place, 0)
}

struct Preparation<'b> {
    rigour: Rigour,
    budget: &'b mut Budget,
}

impl Preparation<'_> {
    fn schema(&mut self, schema: &Value, place: &str, depth: usize) -> Result<Value, GrammarError> {
        let too_large = |what, found: usize, max: usize| GrammarError::TooLarge {
            place: place.to_owned(),
            what,
            found: found as u64,
            max: max as u64,
        };
        if depth > DEPTH_MAX {
            return Err(too_large("levels of schemas", depth, DEPTH_MAX));
        }
        if self.budget.schemas == 0 {
            return Err(too_large(
                "or more schemas around it",
                SCHEMAS_MAX + 1,
                SCHEMAS_MAX,
            ));
        }
        self.budget.schemas -= 1;
        let keywords = match schema {
            Value::Bool(true) => return Ok(json!({})),
            Value::Bool(false) => return Ok(schema.clone()),
            Value::Object(keywords) => keywords,
            _ => {
                return Err(GrammarError::refused(
                    place,
                    format!(
                        "expected a schema (an object, true or false), found {}",
                        kind(schema)
                    ),
                ));
            }
        };
        let mut out = Map::new();
        for (keyword, value) in keywords {
            let place = format!("{place}/{}", step(keyword));
            if let Some(value) = self.keyword(keywords, keyword, value, &place, depth)? {
                out.insert(keyword.clone(), value);
            }
        }
        Ok(Value::Object(out))
    }

    /// A keyword's value; `None` to leave it out.
    fn keyword(
        &mut self,
        keywords: &Map<String, Value>,
        keyword: &str,
        value: &Value,
        place: &str,
        depth: usize,
    ) -> Result<Option<Value>, GrammarError> {
        let refuse = |problem: String| match self.rigour {
            Rigour::Strict => Err(GrammarError::refused(place, problem)),
            Rigour::Lenient => Ok(None),
        };
        if keyword == "x-guidance" || keyword == "$id" || keyword == "id" {
            // The first would change how JSON is written, the others where references lead.
            return Ok(None);
        }
        if NOT_ENFORCED.contains(&keyword) {
            let idle = match keyword {
                "then" | "else" => !keywords.contains_key("if"),
                "minContains" => !keywords.contains_key("contains"),
                "uniqueItems" => value == false,
                _ => false,
            };
            return if idle {
                Ok(None)
            } else {
                refuse(format!(
                    "{keyword} cannot be enforced while text is generated; leave it out"
                ))
            };
        }
        if COUNTS.contains(&keyword) && value.as_u64().is_some_and(|count| count > COUNT_MAX) {
            return refuse(format!("{keyword} is {value}; expected at most {COUNT_MAX}"));
        }
        if keyword == "format" && !value.as_str().is_some_and(|format| FORMATS.contains(&format)) {
            let known = FORMATS.join(", ");
            return refuse(format!(
                "format {value} cannot be enforced; expected one of {known}"
            ));
        }
        if keyword == "$ref" && !value.as_str().is_some_and(|place| place.starts_with('#')) {
            return refuse(format!(
                "found {value}; expected a reference into this schema, such as #/$defs/NAME"
            ));
        }
        let prepared = match value {
            Value::Array(schemas) if LIST.contains(&keyword) => {
                let prepare = |(index, schema)| self.schema(schema, &format!("{place}/{index}"), depth + 1);
                Value::Array(
                    schemas
                        .iter()
                        .enumerate()
                        .map(prepare)
                        .collect::<Result<_, _>>()?,
                )
            }
            Value::Object(schemas) if NAMED.contains(&keyword) => {
                let prepare = |(name, schema): (&String, &Value)| {
                    let prepared = self.schema(schema, &format!("{place}/{}", step(name)), depth + 1)?;
                    Ok((name.clone(), prepared))
                };
                Value::Object(schemas.iter().map(prepare).collect::<Result<_, GrammarError>>()?)
            }
            schema if ONE.contains(&keyword) => self.schema(schema, place, depth + 1)?,
            other => other.clone(),
        };
        Ok(Some(prepared))
    }
}

/// A name as a step of a JSON pointer.
pub(super) fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Schemas directly within `schema`, with their places relative to it.
pub(super) fn children(schema: &Value) -> Vec<(String, &Value)> {
    let mut children = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match value {
            Value::Array(schemas) if LIST.contains(&keyword.as_str()) => children.extend(
                schemas
                    .iter()
                    .enumerate()
                    .map(|(index, schema)| (format!("/{keyword}/{index}"), schema)),
            ),
            Value::Object(schemas) if NAMED.contains(&keyword.as_str()) => children.extend(
                schemas
                    .iter()
                    .map(|(name, schema)| (format!("/{keyword}/{}", step(name)), schema)),
            ),
            schema if ONE.contains(&keyword.as_str()) => children.push((format!("/{keyword}"), schema)),
            _ => {}
        }
    }
    children
}

/// Changes the keywords of `schema` and of all within it.
pub(super) fn for_each(schema: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    let Some(keywords) = schema.as_object_mut() else {
        return;
    };
    for (keyword, value) in &mut *keywords {
        let keyword = keyword.as_str();
        match value {
            Value::Array(schemas) if LIST.contains(&keyword) => {
                schemas.iter_mut().for_each(|schema| for_each(schema, change));
            }
            Value::Object(schemas) if NAMED.contains(&keyword) => {
                schemas.values_mut().for_each(|schema| for_each(schema, change));
            }
            schema if ONE.contains(&keyword) || keyword == ROOT || keyword.starts_with(CHANGED) => {
                for_each(schema, change);
            }
            _ => {}
        }
    }
    change(keywords);
}

/// The part of `root` at `place` (as [`children`] names it) as a schema of its own, in which references into `root` still
/// lead where they did.
pub(super) fn excerpt(root: &Value, place: &str, part: &Value) -> Value {
    if !has_reference(part) {
        let mut part = part.clone();
        if let (Some(part), Some(dialect)) = (part.as_object_mut(), root.get("$schema")) {
            part.insert("$schema".to_owned(), dialect.clone());
        }
        return part;
    }
    let mut moved = root.clone();
    move_references(&mut moved, ROOT);
    let mut excerpt = Map::new();
    if let Some(dialect) = root.get("$schema") {
        excerpt.insert("$schema".to_owned(), dialect.clone());
    }
    let place = place.replace('%', "%25");
    excerpt.insert("$ref".to_owned(), format!("#/{ROOT}{place}").into());
    excerpt.insert(ROOT.to_owned(), moved);
    Value::Object(excerpt)
}

pub(super) fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(keywords) => keywords
            .iter()
            .any(|(keyword, value)| (keyword == "$ref" && value.is_string()) || has_reference(value)),
        Value::Array(values) => values.iter().any(has_reference),
        _ => false,
    }
}

fn move_references(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match value {
                    Value::String(place) if keyword == "$ref" => {
                        if let Some(place) = value.as_str().and_then(|place| place.strip_prefix('#')) {
                            *value = format!("#/{root}{place}").into();
                        }
                    }
                    value => move_references(value, root),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| move_references(value, root)),
        _ => {}
    }
}

/// What a value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
