//! The ways in which a parameter's value may be written: as it is, for strings, or as JSON.

use serde_json::{Map, Value as Json, json};

use super::format;
use super::lark::{literal, regex, whole_text};
use super::schema::{CHANGED, ROOT, excerpt, has_reference};

/// A way to write a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A string as it is: the body of a Lark terminal.
    Raw(String),
    /// JSON of this schema.
    Json(Json),
}

/// Parts of one schema as schemas of their own, and how much of it may be copied for that.
pub(super) struct Excerpts<'s> {
    root: &'s Json,
    root_bytes: usize,
    /// Bytes that may still be copied or looked at; `None` if they were not enough.
    pub(super) left: Option<usize>,
}

impl<'s> Excerpts<'s> {
    pub(super) fn new(root: &'s Json, left: usize) -> Self {
        Self {
            root,
            root_bytes: root.to_string().len(),
            left: Some(left),
        }
    }

    /// The part at `at`; not valid where too much has been copied.
    fn of(&mut self, at: &str, part: &Json) -> Json {
        let cost = if has_reference(part) { self.root_bytes } else { 0 };
        if self.charge(cost) {
            excerpt(self.root, at, part)
        } else {
            Json::Null
        }
    }

    /// Whether so much may still be copied.
    fn charge(&mut self, bytes: usize) -> bool {
        self.left = self.left.and_then(|left| left.checked_sub(bytes));
        self.left.is_some()
    }

    /// A schema that stands nowhere in the root, made of the one at `at`, but may refer to it.
    fn of_changed(&mut self, at: &str, schema: &Json) -> Json {
        if !has_reference(schema) {
            return schema.clone();
        }
        if !self.charge(2 * self.root_bytes) {
            return Json::Null;
        }
        let mut root = self.root.clone();
        let name = format!("{CHANGED}{}", at.replace(['/', '~'], "."));
        let place = format!("/{name}");
        if let Some(keywords) = root.as_object_mut() {
            keywords.insert(name, schema.clone());
        }
        excerpt(&root, &place, schema)
    }
}

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: [&str; 12] = [
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "readOnly",
    "writeOnly",
    "deprecated",
    "contentMediaType",
    "contentEncoding",
    "$defs",
    "definitions",
];

/// Keywords about strings that [`raw`] knows.
const STRING_KEYWORDS: [&str; 4] = ["pattern", "format", "minLength", "maxLength"];

/// How a value of `schema` may be written; `at` is its place in the schema that `excerpts` are of. Never empty, unless too much
/// would have been copied.
pub(super) fn forms(at: &str, schema: &Json, excerpts: &mut Excerpts<'_>) -> Vec<Value> {
    let mut raw = Vec::new();
    let mut json = Vec::new();
    collect(at, schema, excerpts, 8, &mut raw, &mut json);
    let mut forms = Vec::new();
    if !raw.is_empty() {
        forms.push(Value::Raw(raw.join(" | ")));
    }
    match json.len() {
        0 => {}
        1 => forms.extend(json.pop().map(Value::Json)),
        _ => forms.push(Value::Json(any_of(json))),
    }
    forms
}

/// Adds the terminals for strings and the schemas for everything else.
fn collect(
    at: &str,
    schema: &Json,
    excerpts: &mut Excerpts<'_>,
    depth: usize,
    raw: &mut Vec<String>,
    json: &mut Vec<Json>,
) {
    /// What looking at a schema counts as: references let few of them stand for very many.
    const STEP_BYTES: usize = 1000;
    if !excerpts.charge(STEP_BYTES) {
        return;
    }
    let root = excerpts.root;
    let Some((place, resolved)) = resolved(at, schema, root) else {
        return json.push(excerpts.of(at, schema));
    };
    let nothing = Map::new();
    let keywords = match resolved {
        Json::Object(keywords) => keywords,
        Json::Bool(true) => &nothing,
        _ => return json.push(excerpts.of(at, schema)),
    };
    let at = place;
    let meaning: Vec<&str> = keywords
        .keys()
        .map(String::as_str)
        .filter(|keyword| !ANNOTATIONS.contains(keyword))
        .collect();
    let only = |allowed: &[&str]| meaning.iter().all(|keyword| allowed.contains(keyword));
    if meaning.is_empty() {
        raw.push(anything());
        return json.push(json!({"type": ["object", "array", "number", "boolean", "null"]}));
    }
    if let Some(options) = keywords.get("anyOf").and_then(Json::as_array)
        && only(&["anyOf"])
        && depth > 0
    {
        for (index, option) in options.iter().enumerate() {
            collect(
                &format!("{at}/anyOf/{index}"),
                option,
                excerpts,
                depth - 1,
                raw,
                json,
            );
        }
        return;
    }
    let types: Vec<&str> = match keywords.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let values = match (keywords.get("enum"), keywords.get("const")) {
        (Some(Json::Array(values)), None) => Some(values.clone()),
        (None, Some(value)) => Some(vec![value.clone()]),
        _ => None,
    };
    if let Some(values) = values
        && only(&["enum", "const", "type"])
    {
        let strings = values.iter().filter_map(Json::as_str);
        if !excerpts.charge(strings.clone().map(str::len).sum()) {
            return;
        }
        if types.is_empty() || types.contains(&"string") {
            raw.extend(strings.map(literal));
        }
        let others: Vec<_> = values.iter().filter(|value| !value.is_string()).collect();
        if !others.is_empty() {
            let mut schema = json!({"enum": others});
            if let Some(types) = keywords.get("type") {
                schema["type"] = types.clone();
            }
            json.push(schema);
        }
        return;
    }
    if types.contains(&"string") && !keywords.contains_key("enum") && !keywords.contains_key("const") {
        let others: Vec<_> = types.iter().filter(|name| **name != "string").collect();
        let about_strings = only(&["type", "pattern", "format", "minLength", "maxLength"]);
        if let (true, Some(terminal)) = (about_strings || !others.is_empty(), self::raw(keywords)) {
            if others.is_empty() {
                return raw.push(terminal);
            }
            if !meaning
                .iter()
                .any(|keyword| ["anyOf", "oneOf", "allOf", "$ref"].contains(keyword))
            {
                raw.push(terminal);
                let mut schema = keywords.clone();
                schema.retain(|keyword, _| !STRING_KEYWORDS.contains(&keyword.as_str()));
                schema.insert("type".to_owned(), json!(others));
                let schema = Json::Object(schema);
                return json.push(excerpts.of_changed(&at, &schema));
            }
        }
    }
    json.push(excerpts.of(&at, resolved));
}

/// One of several excerpts. What they refer to moves to the top, where references look for it.
fn any_of(mut excerpts: Vec<Json>) -> Json {
    let mut root = Map::new();
    for excerpt in &mut excerpts {
        let own = excerpt.as_object_mut().and_then(|keywords| keywords.remove(ROOT));
        if let Some(Json::Object(own)) = own {
            root.extend(own);
        }
    }
    let mut schema = json!({"anyOf": excerpts});
    if !root.is_empty() {
        schema[ROOT] = Json::Object(root);
    }
    schema
}

/// Any text.
fn anything() -> String {
    regex("(?s:.*)")
}

/// The terminal for a string with these keywords; `None` if it cannot be said as a regular expression.
fn raw(keywords: &Map<String, Json>) -> Option<String> {
    let mut all = Vec::new();
    if let Some(pattern) = keywords.get("pattern") {
        all.push(whole_text(pattern.as_str()?)?);
    }
    if let Some(format) = keywords.get("format") {
        all.extend(format::regexes(format.as_str()?)?);
    }
    let count = |keyword: &str| keywords.get(keyword).map(Json::as_u64);
    match (count("minLength"), count("maxLength")) {
        (None, None) => {}
        (Some(None), _) | (_, Some(None)) => return None,
        (Some(Some(min)), Some(Some(max))) if min > max => return None,
        (min, max) => {
            let min = min.flatten().unwrap_or(0);
            let max = max.flatten().map(|max| max.to_string()).unwrap_or_default();
            all.push(format!("(?s:.{{{min},{max}}})"));
        }
    }
    if all.is_empty() {
        return Some(anything());
    }
    // An empty expression has no spelling of its own.
    let terms: Vec<String> = all
        .iter()
        .map(|expression| match expression.as_str() {
            "" => "\"\"".to_owned(),
            expression => regex(&format!("(?:{expression})")),
        })
        .collect();
    Some(format!("({})", terms.join(" & ")))
}

/// What `schema` at `at` refers to, and where that is; itself if it is no mere reference. `None` if that is not in `root`,
/// or refers to itself.
pub(super) fn resolved<'s>(at: &str, schema: &'s Json, root: &'s Json) -> Option<(String, &'s Json)> {
    const HOPS_MAX: usize = 32;
    let (mut at, mut schema) = (at.to_owned(), schema);
    for _ in 0..HOPS_MAX {
        let Some(keywords) = schema.as_object() else {
            return Some((at, schema));
        };
        let is_reference = keywords.keys().all(|keyword| {
            keyword == "$ref" || keyword == "$schema" || ANNOTATIONS.contains(&keyword.as_str())
        });
        let Some(place) = keywords.get("$ref").filter(|_| is_reference) else {
            return Some((at, schema));
        };
        let place = place.as_str()?.strip_prefix('#')?;
        schema = root.pointer(place)?;
        place.clone_into(&mut at);
    }
    None
}
