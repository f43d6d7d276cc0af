//! The layers together, on a small program.

use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use proptest::prelude::*;

use super::*;

#[derive(Parser, Debug)]
struct Program {
    #[command(subcommand)]
    command: Sub,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    Serve(Args),
}

#[derive(clap::Args, Debug, PartialEq)]
struct Args {
    #[arg(long, default_value_t = 8017)]
    port: u16,
    /// Where states are kept
    #[arg(long)]
    cache_dir: Option<std::path::PathBuf>,
    #[arg(long)]
    strict: bool,
    #[arg(long)]
    origin: Vec<String>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: Option<u32>,
    #[arg(long)]
    model: Option<String>,
    /// Called inside as a key of the tables is, and something else.
    #[arg(long = "label", id = "name")]
    name: Option<String>,
    #[arg(long)]
    check: bool,
}

#[derive(clap::Args, Debug)]
struct Model {
    #[arg(long)]
    name: Option<String>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: Option<u32>,
}

fn model() -> Command {
    <Model as clap::Args>::augment_args(Command::new("models"))
}

const RULES: Rules = Rules {
    not_settings: &["check"],
    tables: &[("models", model)],
    said_by_tables: &[("model", "write [[models]]")],
};

fn configured(typed: &str, environment: &[(&str, &str)], file: &str) -> Result<Configured, Problems> {
    let program =
        Program::command().mut_subcommand("serve", |serve| with_switches(serve, RULES.not_settings));
    let typed = ["fathom", "serve"].into_iter().chain(typed.split_whitespace());
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(*value)));
    let file = ConfigFile::parse(Path::new("/etc/fathom.toml"), file)?;
    Configured::resolve(
        program,
        "serve",
        RULES,
        typed.map(OsString::from),
        &Environment::of(environment),
        Some(file),
    )
}

fn args(typed: &str, environment: &[(&str, &str)], file: &str) -> Result<Args, Problems> {
    let configured = configured(typed, environment, file)?;
    Ok(Args::from_arg_matches(configured.settings.matches()).unwrap())
}

#[test]
fn what_is_typed_wins_then_the_environment_then_the_file_then_the_default() {
    let environment = [("FATHOM_PORT", "2")].as_slice();
    assert_eq!(args("--port 1", environment, "port = 3").unwrap().port, 1);
    assert_eq!(args("", environment, "port = 3").unwrap().port, 2);
    assert_eq!(args("", &[("FATHOM_PORT", "")], "port = 3").unwrap().port, 3);
    assert_eq!(args("", &[], "").unwrap().port, 8017);
    let origin = |typed, environment, file| {
        let configured = configured(typed, environment, file).unwrap();
        configured.settings.origin(&"port".into()).to_string()
    };
    assert_eq!(origin("--port 1", environment, "port = 3"), "command line");
    assert_eq!(origin("", environment, "port = 3"), "FATHOM_PORT");
    assert_eq!(origin("", &[], "\nport = 3"), "/etc/fathom.toml:2");
    assert_eq!(origin("", &[], ""), "default");
}

#[test]
fn a_switch_can_be_taken_back() {
    for (typed, environment, file, strict) in [
        ("", "", "", false),
        ("--strict", "", "strict = false", true),
        ("--strict=false", "on", "strict = true", false),
        ("", "0", "strict = true", false),
        ("", "", "strict = true", true),
        ("", "", "strict = 'yes'", true),
    ] {
        let found = args(typed, &[("FATHOM_STRICT", environment)], file)
            .unwrap()
            .strict;
        assert_eq!(found, strict, "{typed} {environment} {file}");
    }
}

#[test]
fn lists_and_paths() {
    let found = args("", &[], "origin = ['a,b', 'c']\ncache-dir = 'cache'").unwrap();
    assert_eq!(found.origin, ["a,b", "c"]);
    assert_eq!(found.cache_dir.as_deref(), Some(Path::new("/etc/cache")));
    let found = args(
        "",
        &[("FATHOM_ORIGIN", "a, b"), ("FATHOM_CACHE_DIR", "cache")],
        "",
    )
    .unwrap();
    assert_eq!(found.origin, ["a", "b"]);
    assert_eq!(found.cache_dir.as_deref(), Some(Path::new("cache")));
    assert_eq!(args("", &[], "origin = []").unwrap().origin, [""; 0]);
    // What is typed replaces a list, it does not add to it.
    assert_eq!(args("--origin x", &[], "origin = 'a'").unwrap().origin, ["x"]);
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let file = "port = 99999\nprot = 1\nparallel = [1, 2]\nstrict = 'maybe'\ncheck = true\nmodel = 'x'\n[model]\n[other]\n[[models]]\nnames = 1\nparallel = 0\n";
    // TOML itself refuses the second `model`.
    assert!(
        configured("", &[], file)
            .unwrap_err()
            .to_string()
            .starts_with("/etc/fathom.toml:7: ")
    );
    let file = file.replace("[model]\n", "");
    let problems = configured("", &[("FATHOM_PARALLEL", "65")], &file).unwrap_err();
    let expected = [
        "/etc/fathom.toml:6: model: write [[models]]",
        "/etc/fathom.toml:2: prot: unknown key; did you mean port?",
        "/etc/fathom.toml:3: parallel: expected one value, found an array of 2",
        "/etc/fathom.toml:5: check: unknown key; fathom serve --print-config lists all there are",
        "/etc/fathom.toml:7: other: unknown key; fathom serve --print-config lists all there are",
        "/etc/fathom.toml:1: port: invalid value '99999' for '--port <PORT>': 99999 is not in 0..=65535",
        "/etc/fathom.toml:4: strict: invalid value 'maybe' for '--strict[=<BOOL>]': value was not a boolean",
        "FATHOM_PARALLEL: invalid value '65' for '--parallel <PARALLEL>': 65 is not in 1..=64",
        "/etc/fathom.toml:9: names: unknown key; did you mean name?",
        "/etc/fathom.toml:10: parallel: invalid value '0' for '--parallel <PARALLEL>': 0 is not in 1..=64",
    ];
    assert_eq!(problems.0, expected);
    assert!(
        problems
            .to_string()
            .starts_with("10 things have to be put right:\n  /etc/")
    );
    // A value that another place overrules has to be right too.
    assert!(args("--port 1", &[], "port = 'x'").is_err());
}

#[test]
fn tables_take_what_they_do_not_say_from_the_settings() {
    let found = configured(
        "",
        &[],
        "parallel = 3\n[[models]]\nname = 'a'\n[[models]]\nparallel = 5\n",
    )
    .unwrap();
    let models: Vec<_> = found
        .tables("models")
        .iter()
        .map(|table| Model::from_arg_matches(found.table(model(), table).unwrap().matches()).unwrap())
        .collect();
    assert_eq!(models.len(), 2);
    assert_eq!(
        (models[0].name.as_deref(), models[0].parallel),
        (Some("a"), Some(3))
    );
    assert_eq!((models[1].name.as_deref(), models[1].parallel), (None, Some(5)));
    let found = configured("", &[], "[[models]]\nparallel = 65\nnames = 'x'").unwrap();
    let problems = found.table(model(), &found.tables("models")[0]).unwrap_err().0;
    assert_eq!(
        problems,
        [
            "/etc/fathom.toml:3: names: unknown key; did you mean name?",
            "/etc/fathom.toml:2: parallel: invalid value '65' for '--parallel <PARALLEL>': 65 is not in 1..=64",
        ]
    );
    for text in ["models = 1", "[models]\nname = 'x'"] {
        assert_eq!(
            configured("", &[], text).unwrap_err().to_string(),
            "/etc/fathom.toml:1: models: expected tables; write [[models]] above each"
        );
    }
    assert_eq!(
        configured("", &[], "[[model2]]\n[modells]").unwrap_err().0,
        [
            "/etc/fathom.toml:1: model2: unknown table; did you mean [[models]]?",
            "/etc/fathom.toml:2: modells: unknown table; did you mean [[models]]?"
        ]
    );
}

#[test]
fn another_command_shares_what_it_knows() {
    let file = ConfigFile::parse(
        Path::new("/etc/fathom.toml"),
        "parallel = 5\nport = 'x'\nname = 'file'",
    )
    .unwrap();
    let variables = [("FATHOM_NAME".to_owned(), OsString::from("variable"))];
    let found: Model = elsewhere(&Environment::of(variables), Some(&file)).unwrap();
    assert_eq!(
        (found.name.as_deref(), found.parallel),
        (Some("variable"), Some(5))
    );
    let found: Model = elsewhere(&Environment::default(), None).unwrap();
    assert_eq!((found.name, found.parallel), (None, None));
    let file = ConfigFile::parse(Path::new("/etc/fathom.toml"), "parallel = 65").unwrap();
    assert!(elsewhere::<Model>(&Environment::default(), Some(&file)).is_err());
}

#[test]
fn a_misspelt_variable_is_noted() {
    let found = configured(
        "",
        &[("FATHOM_PROT", "1"), ("FATHOM_ISA", "avx2"), ("FATHOM_XYZZY", "")],
        "",
    )
    .unwrap();
    assert_eq!(
        found.notes,
        ["FATHOM_PROT is in the environment and means nothing here; did you mean FATHOM_PORT?"]
    );
}

#[test]
fn what_is_printed_says_the_same_again() {
    let file = "port = 3\norigin = ['a\"b', 'c']\ncache-dir = \"/x\\ty\"\n";
    let first = configured("--strict", &[("FATHOM_PARALLEL", "7")], file).unwrap();
    let text = first.printed("serve", &[]);
    assert!(
        text.contains("# Where states are kept\n# --cache-dir, FATHOM_CACHE_DIR; now: /etc/fathom.toml:3\ncache-dir = \"/x\\ty\"\n"),
        "{text}"
    );
    assert!(text.contains("; now: command line\nstrict = true\n"), "{text}");
    assert!(!text.contains("check") && !text.contains("model"), "{text}");
    let again = configured("", &[], &text).unwrap();
    assert_eq!(
        Args::from_arg_matches(first.settings.matches()).unwrap(),
        Args::from_arg_matches(again.settings.matches()).unwrap()
    );
    let nothing = configured("", &[], "").unwrap().printed("serve", &[]);
    assert!(
        nothing.contains("\n#port = 8017\n") && nothing.contains("\n#cache-dir = <CACHE_DIR>\n"),
        "{nothing}"
    );
    assert_eq!(
        ConfigFile::parse(Path::new("x"), &nothing).unwrap().table.entries,
        []
    );
}

proptest! {
    #[test]
    fn any_file_gives_settings_or_says_where_it_is_wrong(
        keys in prop::collection::vec(("port|strict|origin|parallel|cache-dir|models|model|x|[a-z-]{1,6}", "[0-9]{1,6}|true|'[^']{0,6}'|\\[\\]|\\['a', 1\\]|\\{\\}|\\[\\{name = 1\\}\\]|1e9|nan|[^\n]{0,8}"), 0..6),
    ) {
        let lines: Vec<_> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let text = lines.join("\n");
        match configured("", &[], &text) {
            Ok(found) => {
                prop_assert!(Args::from_arg_matches(found.settings.matches()).is_ok());
                let again = configured("", &[], &found.printed("serve", &[])).unwrap();
                prop_assert_eq!(
                    Args::from_arg_matches(found.settings.matches()).unwrap(),
                    Args::from_arg_matches(again.settings.matches()).unwrap()
                );
            }
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                for problem in &problems.0 {
                    prop_assert!(problem.starts_with("/etc/fathom.toml:"), "{}", problem);
                }
            }
        }
    }
}
