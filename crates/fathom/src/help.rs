//! `fathom --help`: the commands in groups, and two examples.
//!
//! The library that parses arguments lists commands in one column; this puts a heading over each kind. A command's line
//! is its own short description, so nothing is said in two places.

use std::fmt::Write as _;

/// Every command, by what it is for.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Use a model", &["chat", "run", "cache"]),
    ("Serve a team", &["serve", "keys", "usage", "prices"]),
    ("Examine a model", &["inspect", "plan", "bench", "logits"]),
    ("Make a model", &["quantize"]),
];

const EXAMPLES: &str = "\
Examples:
  fathom chat
      Talk with the small built-in model; nothing needs to be downloaded.
  fathom run --model DeepSeek-V4-Flash -p \"Why is the sky blue?\"
      Ask the checkpoint in a directory one question.

fathom COMMAND --help explains the options of a command.
";

/// Gives `program` its grouped help.
pub(crate) fn grouped(program: clap::Command) -> clap::Command {
    let mut template = "{about}\n\n{usage-heading} fathom COMMAND [OPTIONS]\n\n".to_owned();
    for (heading, names) in GROUPS {
        // Writing to a string cannot fail.
        let _ = writeln!(template, "{heading}:");
        for name in names {
            let about = program.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(template, "  {name:<9}{about}");
        }
        template.push('\n');
    }
    template.push_str("Options:\n{options}\n\n");
    template.push_str(EXAMPLES);
    program.help_template(template)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn every_command_is_in_one_group_with_its_description() {
        let program = Cli::command();
        let mut grouped_names: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        grouped_names.sort_unstable();
        let mut names: Vec<_> = program.get_subcommands().map(clap::Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(grouped_names, names);
        let help = grouped(program.clone()).render_help().to_string();
        for command in program.get_subcommands() {
            let about = command.get_about().unwrap().to_string();
            let line = help
                .lines()
                .find(|line| line.starts_with(&format!("  {} ", command.get_name())));
            assert!(
                line.is_some_and(|line| line.ends_with(&about)),
                "{}: {line:?}",
                command.get_name()
            );
        }
    }

    #[test]
    fn the_help_fits_a_terminal() {
        let help = grouped(Cli::command()).render_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        assert!(help.lines().count() <= 36, "{help}");
    }
}
