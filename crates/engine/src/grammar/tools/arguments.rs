//! A tool's arguments: one rule for each property of the schema, and their order.

use std::collections::HashSet;

use serde_json::Value;

use super::{Writer, check_name};
use crate::grammar::error::GrammarError;
use crate::grammar::json;
use crate::grammar::lark::literal;
use crate::grammar::limits::EXCERPT_BYTES_MAX;
use crate::grammar::schema::{Rigour, prepared, step};
use crate::grammar::value::{Excerpts, forms, resolved};

/// Properties that are kept apart in any order; more come in the order of the schema.
const UNORDERED_MAX: usize = 60;

/// An empty line in place of parameters.
const EMPTY_LINE: &str = "({})?";

impl Writer {
    /// As much of a schema as can be had.
    pub(super) fn lenient_arguments(&mut self, schema: &Value, place: &str) -> String {
        let rules = self.rules.len();
        let grammars = self.grammars.len();
        self.rigour = Rigour::Lenient;
        let arguments = self.arguments(schema, place).and_then(|arguments| {
            self.grammars[grammars..]
                .iter()
                .filter_map(|grammar| grammar.json_schema.as_ref())
                .try_for_each(|schema| json::check(schema, place))?;
            Ok(arguments)
        });
        self.rigour = Rigour::Strict;
        arguments.unwrap_or_else(|_| {
            self.rules.truncate(rules);
            self.grammars.truncate(grammars);
            self.open_arguments()
        })
    }

    pub(super) fn open_arguments(&mut self) -> String {
        let any = Value::Bool(true);
        let values = forms("", &any, &mut Excerpts::new(&any, EXCERPT_BYTES_MAX));
        let extra = self.extra(&[], values);
        format!("({extra})* {}", EMPTY_LINE.replace("{}", &literal("\n")))
    }

    pub(super) fn arguments(&mut self, schema: &Value, place: &str) -> Result<String, GrammarError> {
        let rigour = self.rigour;
        let root = prepared(schema, place, rigour, &mut self.budget)?;
        let (at, object) = resolved("", &root, &root)
            .ok_or_else(|| GrammarError::refused(place, "the reference leads nowhere, or in a circle"))?;
        let place = format!("{place}{at}");
        if rigour == Rigour::Strict {
            check_arguments(object, &place)?;
        }
        let any = Value::Bool(true);
        let additional = object.get("additionalProperties");
        let properties = object.get("properties").and_then(Value::as_object);
        let required: HashSet<&str> = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let at_additional = format!("{at}/additionalProperties");
        let listed = properties.into_iter().flatten().map(|(name, schema)| {
            let at = format!("{at}/properties/{}", step(name));
            (name.as_str(), schema, at)
        });
        // In the order of the schema: a set has none that is always the same.
        let unlisted = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut seen: HashSet<&str> = properties
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let unlisted = unlisted
            .filter_map(Value::as_str)
            .filter(|&name| seen.insert(name))
            .map(|name| (name, additional.unwrap_or(&any), at_additional.clone()));
        let mut excerpts = Excerpts::new(&root, self.excerpt_bytes);
        let mut parameters = Vec::new();
        for (name, schema, at) in listed.chain(unlisted) {
            let is_required = required.contains(name);
            if *schema == Value::Bool(false) && !is_required {
                continue;
            }
            match check_name(name, &format!("{place}/properties/{}", step(name))) {
                Ok(()) => {}
                Err(_) if rigour == Rigour::Lenient && !is_required => continue,
                Err(error) => return Err(error),
            }
            let values = forms(&at, schema, &mut excerpts);
            let parameter = self.parameter(name, values);
            parameters.push((name, parameter, is_required));
        }
        let extra = match additional {
            Some(Value::Bool(false)) => None,
            Some(schema) => Some(schema),
            // Whoever lists properties means these, although the standard says otherwise.
            None if properties.is_none() => Some(&any),
            None => None,
        };
        let names: Vec<&str> = parameters.iter().map(|(name, ..)| *name).collect();
        let extra = extra.map(|schema| {
            let values = forms(&at_additional, schema, &mut excerpts);
            self.extra(&names, values)
        });
        self.excerpt_bytes = excerpts.left.ok_or_else(|| GrammarError::TooLarge {
            place: place.clone(),
            what: "or more bytes once references are followed",
            found: EXCERPT_BYTES_MAX as u64 + 1,
            max: EXCERPT_BYTES_MAX as u64,
        })?;
        Ok(self.sequence(&parameters, extra.as_deref()))
    }

    /// The parameters, each at most once. What the model was trained on leaves a line empty where there is none.
    fn sequence(&mut self, parameters: &[(&str, String, bool)], extra: Option<&str>) -> String {
        let required = parameters.iter().filter(|(.., required)| *required).count();
        let empty = if required == 0 { EMPTY_LINE } else { "" }.replace("{}", &literal("\n"));
        let extras = extra.map(|extra| format!("({extra})*")).unwrap_or_default();
        if parameters.is_empty() || parameters.len() > UNORDERED_MAX {
            let each: Vec<String> = parameters
                .iter()
                .map(|(_, rule, required)| format!("{rule}{}", if *required { "" } else { "?" }))
                .collect();
            return format!("{} {extras} {empty}", each.join(" "));
        }
        // One bit for each parameter that has come, the required ones first.
        let mut sorted: Vec<_> = parameters.iter().collect();
        sorted.sort_by_key(|(.., required)| !required);
        let rule = self.name("some");
        let done = match required {
            0 => String::new(),
            count => format!(" %if is_ones([0:{count}])"),
        };
        let mut options = vec![format!("\"\"{done}")];
        for (bit, (_, parameter, _)) in sorted.iter().enumerate() {
            options.push(format!("{parameter} {rule}::set_bit({bit}) %if bit_clear({bit})"));
        }
        if let Some(extra) = extra {
            options.push(format!("{extra} {rule}::_"));
        }
        self.rules.push(format!("{rule}::_: {}", options.join("\n  | ")));
        format!("{rule}::0 {empty}")
    }
}

/// Refuses what parameters in any order cannot express.
fn check_arguments(object: &Value, place: &str) -> Result<(), GrammarError> {
    const UNSUPPORTED: [&str; 9] = [
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "patternProperties",
        "minProperties",
        "maxProperties",
        "$ref",
    ];
    if let Some(kind) = object.get("type").filter(|kind| *kind != "object") {
        return Err(GrammarError::refused(
            format!("{place}/type"),
            format!("found {kind}; the arguments of a tool are an \"object\""),
        ));
    }
    let found = UNSUPPORTED
        .into_iter()
        .find(|keyword| object.get(keyword).is_some());
    match found {
        None => Ok(()),
        Some(keyword) => Err(GrammarError::refused(
            format!("{place}/{keyword}"),
            "not possible for the arguments as a whole; use it within a property",
        )),
    }
}
