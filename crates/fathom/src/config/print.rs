//! The settings in force, written as a file that would say the same.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Arg, ArgAction};

use super::name;
use super::origin::Origin;
use super::settings::Settings;

/// Columns of a comment.
const WIDTH: usize = 110;

/// All settings but `not`, in groups. What nobody has said stands in comments, so that a later default is not held up by an old
/// file.
pub(super) fn sections(settings: &Settings, not: &[&str]) -> String {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for arg in settings.arguments(not) {
        let heading = arg.get_help_heading().unwrap_or("Options");
        let text = setting(settings, arg);
        match sections.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, section)) => section.push_str(&text),
            None => sections.push((heading, text)),
        }
    }
    sections.iter().fold(String::new(), |mut all, (name, section)| {
        // Writing to a string cannot fail.
        let _ = write!(all, "\n# {name}\n# {}\n\n{section}", "-".repeat(name.len()));
        all
    })
}

impl Settings {
    /// These settings as a table of a file that begins with `outer`; in comments if it says nothing that `outer` does not say.
    pub(crate) fn as_table(&self, name: &str, outer: &Self) -> String {
        let is_own = |arg: &Arg| {
            let origin = self.origin(arg.get_id());
            let above = outer
                .argument(name::key(arg))
                .map(|arg| outer.origin(arg.get_id()));
            origin != Origin::Default && above != Some(origin)
        };
        let header = if self.arguments(&[]).any(is_own) { "" } else { "#" };
        let mut text = format!("{header}[[{name}]]\n");
        for arg in self.arguments(&[]) {
            let own = is_own(arg);
            let origin = self.origin(arg.get_id());
            let above = if own || origin == Origin::Default {
                ""
            } else {
                ", as above"
            };
            let _ = writeln!(text, "{}  # {origin}{above}", line(self, arg, own));
        }
        text
    }
}

/// A setting with what it means.
fn setting(settings: &Settings, arg: &Arg) -> String {
    let (key, origin) = (name::key(arg), settings.origin(arg.get_id()));
    let mut text = String::new();
    comment(
        &mut text,
        &arg.get_help().map(ToString::to_string).unwrap_or_default(),
    );
    let _ = writeln!(text, "# --{key}, {}; now: {origin}", name::variable(key));
    let _ = writeln!(text, "{}\n", line(settings, arg, origin != Origin::Default));
    text
}

/// `key = value`, as a comment unless it is `said`.
fn line(settings: &Settings, arg: &Arg, said: bool) -> String {
    let off = if said { "" } else { "#" };
    let values = settings.values(arg.get_id());
    let is_empty_list = said && matches!(arg.get_action(), ArgAction::Append);
    let value = if values.is_empty() && !is_empty_list {
        let value_name = arg.get_value_names().and_then(<[_]>::first);
        format!("<{}>", value_name.map_or("…", |name| name.as_str()))
    } else {
        literal(arg, &values)
    };
    format!("{off}{} = {value}", name::key(arg))
}

/// Values as TOML. A number or truth value is written as one if it reads the same.
fn literal(arg: &Arg, values: &[OsString]) -> String {
    let one = |value: &OsString| {
        let value = value.to_string_lossy();
        let is_number = value
            .parse::<i64>()
            .is_ok_and(|number| number.to_string() == value);
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
