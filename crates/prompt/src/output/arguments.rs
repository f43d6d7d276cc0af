//! The JSON arguments of one tool call, written from its parameters as they arrive.

use serde_json::{Map, Value};

use super::defect::{Defect, shortened};

/// Parameters that models wrap all arguments in, although the tool has none of that name (spec §13).
const WRAPPERS: [&str; 2] = ["arguments", "input"];

/// Builds the text of one JSON object. What has been handed out is never taken back: parameters whose form is only known at their
/// end (raw JSON, and wrappers) are held until then, strings stream.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// Names written so far.
    names: Vec<String>,
    parameter: Option<Parameter>,
    /// A closed parameter that is unwrapped if it stays the only one.
    wrapper: Option<Held>,
}

#[derive(Debug)]
enum Parameter {
    /// A string on its way; its opening quote is written.
    Streaming,
    Held(Held),
    /// A parameter that is left out.
    Dropped,
}

#[derive(Debug)]
struct Held {
    name: String,
    /// `None` if the tag does not say.
    is_string: Option<bool>,
    is_wrapper: bool,
    value: String,
}

impl Arguments {
    /// Open a parameter. `known` says whether the tool's schema has a parameter of a given name.
    pub(super) fn open(
        &mut self,
        name: String,
        is_string: Option<bool>,
        known: impl Fn(&str) -> bool,
        defects: &mut Vec<Defect>,
    ) -> String {
        let mut json = String::new();
        if let Some(held) = self.wrapper.take() {
            json.push_str(&self.written(held, defects));
        }
        let is_wrapper = self.names.is_empty() && WRAPPERS.contains(&name.as_str()) && !known(&name);
        self.parameter = Some(if self.names.contains(&name) {
            defects.push(Defect::DuplicateParameter { name });
            Parameter::Dropped
        } else if is_string == Some(true) && !is_wrapper {
            json.push_str(&self.key(name));
            json.push('"');
            Parameter::Streaming
        } else {
            Parameter::Held(Held {
                name,
                is_string,
                is_wrapper,
                value: String::new(),
            })
        });
        json
    }

    /// Add to the value of the open parameter.
    pub(super) fn text(&mut self, text: &str) -> String {
        match &mut self.parameter {
            Some(Parameter::Streaming) => escaped(text),
            Some(Parameter::Held(held)) => {
                held.value.push_str(text);
                String::new()
            }
            Some(Parameter::Dropped) | None => String::new(),
        }
    }

    /// Close the open parameter, if any.
    pub(super) fn close(&mut self, defects: &mut Vec<Defect>) -> String {
        match self.parameter.take() {
            Some(Parameter::Streaming) => "\"".to_owned(),
            Some(Parameter::Held(held)) if held.is_wrapper => {
                self.wrapper = Some(held);
                String::new()
            }
            Some(Parameter::Held(held)) => self.written(held, defects),
            Some(Parameter::Dropped) | None => String::new(),
        }
    }

    /// Close the object. `loose` is text found outside parameters.
    pub(super) fn finish(mut self, loose: &str, defects: &mut Vec<Defect>) -> String {
        let mut json = self.close(defects);
        if let Some(held) = self.wrapper.take() {
            if let Some(object) = object_text(&held.value) {
                defects.push(Defect::WrappedArguments {
                    found: format!("parameter {}", held.name),
                });
                report_loose(loose, defects);
                return object.to_owned();
            }
            json.push_str(&self.written(held, defects));
        }
        if self.names.is_empty() {
            if let Some(object) = object_text(loose) {
                defects.push(Defect::WrappedArguments {
                    found: shortened(object),
                });
                return object.to_owned();
            }
            json.push('{');
        }
        report_loose(loose, defects);
        json.push('}');
        json
    }

    /// Separator, name and colon of the next parameter.
    fn key(&mut self, name: String) -> String {
        let separator = if self.names.is_empty() { "{" } else { ", " };
        let key = format!("{separator}{}: ", Value::from(name.as_str()));
        self.names.push(name);
        key
    }

    fn written(&mut self, held: Held, defects: &mut Vec<Defect>) -> String {
        let Held {
            name,
            is_string,
            value,
            ..
        } = held;
        let key = self.key(name.clone());
        if is_string != Some(true) {
            if serde_json::from_str::<Value>(&value).is_ok() {
                return key + &value;
            }
            defects.push(Defect::NotJson {
                name,
                found: shortened(&value),
            });
        }
        key + &Value::from(value).to_string()
    }
}

fn report_loose(loose: &str, defects: &mut Vec<Defect>) {
    let loose = loose.trim();
    if !loose.is_empty() {
        defects.push(Defect::StrayText {
            found: shortened(loose),
            place: "tool call",
        });
    }
}

/// `text` if it is a JSON object.
fn object_text(text: &str) -> Option<&str> {
    let text = text.trim();
    serde_json::from_str::<Map<String, Value>>(text)
        .is_ok()
        .then_some(text)
}

/// `text` as it appears between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
