//! The settings in force, written as a file that would say the same.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Arg, ArgAction};

use super::name;
use super::origin::Origin;
use super::settings::Settings;

/// Columns of a comment.
const WIDTH: usize = 110;

/// Settings as text. What nobody has said stands in comments, so that a later default is not held up by an old file.
pub(crate) struct Printed {
    sections: Vec<(String, String)>,
}

impl Printed {
    /// All settings but `not`.
    pub(super) fn new(settings: &Settings, not: &[&str]) -> Self {
        let mut sections: Vec<(String, String)> = Vec::new();
        for arg in settings.arguments(not) {
            let heading = arg.get_help_heading().unwrap_or("Options");
            let text = setting(settings, arg, true);
            match sections.iter_mut().find(|(name, _)| name == heading) {
                Some((_, section)) => section.push_str(&text),
                None => sections.push((heading.to_owned(), text)),
            }
        }
        Self { sections }
    }

    /// All of it, each group under its name.
    pub(crate) fn text(&self) -> String {
        self.sections.iter().fold(String::new(), |mut all, (name, section)| {
            // Writing to a string cannot fail.
            let _ = write!(all, "\n# {name}\n# {}\n\n{section}", "-".repeat(name.len()));
            all
        })
    }
}

impl Settings {
    /// These settings as a table of the file.
    pub(crate) fn as_table(&self, name: &str) -> String {
        self.arguments(&[])
            .fold(format!("[[{name}]]\n"), |text, arg| text + &setting(self, arg, false))
    }
}

fn setting(settings: &Settings, arg: &Arg, explained: bool) -> String {
    let mut text = String::new();
    let key = name::key(arg);
    let id = arg.get_id();
    let (values, origin) = (settings.values(id), settings.origin(id));
    if explained {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        comment(&mut text, &help);
        let _ = writeln!(text, "# --{key}, {}; now: {origin}", name::variable(key));
    }
    let off = if origin == Origin::Default { "#" } else { "" };
    let from = if explained { String::new() } else { format!("  # {origin}") };
    if values.is_empty() {
        let value_name = arg.get_value_names().and_then(<[_]>::first);
        let value_name = value_name.map_or_else(|| "…".to_owned(), ToString::to_string);
        let _ = writeln!(text, "#{key} = {}{from}", literal(arg, &[value_name.into()]));
    } else {
        let _ = writeln!(text, "{off}{key} = {}{from}", literal(arg, &values));
    }
    if explained {
        text.push('\n');
    }
    text
}

/// Values as TOML. A number or truth value is written as one if it reads the same.
fn literal(arg: &Arg, values: &[OsString]) -> String {
    let one = |value: &OsString| {
        let value = value.to_string_lossy();
        let is_number = value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
        if is_number || value == "true" || value == "false" {
            return value.into_owned();
        }
        toml::Value::String(value.into_owned()).to_string()
    };
    let values: Vec<_> = values.iter().map(one).collect();
    if matches!(arg.get_action(), ArgAction::Append) {
        format!("[{}]", values.join(", "))
    } else {
        values.join(" ")
    }
}

fn comment(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        if column == 0 || column + 1 + word.chars().count() > WIDTH {
            text.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.chars().count();
    }
    text.push('\n');
}
