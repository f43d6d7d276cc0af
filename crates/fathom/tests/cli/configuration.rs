//! The settings of `fathom serve`, as a user gives them.

use std::fs;
use std::path::Path;

use crate::support::{command, text};

/// What `fathom serve` says with this file, these arguments and variables: exit code, standard output, standard error.
fn serve(file: &str, args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("fathom.toml"), file).unwrap();
    let output = command(&[&["serve", "--config", "fathom.toml"], args].concat())
        .current_dir(dir.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout).to_owned(),
        text(&output.stderr).to_owned(),
    )
}

fn printed(file: &str, args: &[&str], variables: &[(&str, &str)]) -> String {
    let (status, out, err) = serve(file, &[args, &["--print-config"]].concat(), variables);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    out
}

#[test]
fn each_value_says_where_it_came_from() {
    let file = "port = 1\nqueue = 7\ncache-ram = '1G'\n";
    let out = printed(
        file,
        &["--port", "3"],
        &[("FATHOM_PORT", "2"), ("FATHOM_QUEUE", "8")],
    );
    for line in [
        "# Read: fathom.toml",
        "# --port, FATHOM_PORT; now: command line\nport = 3",
        "# --queue, FATHOM_QUEUE; now: FATHOM_QUEUE\nqueue = 8",
        "# --cache-ram, FATHOM_CACHE_RAM; now: fathom.toml:3\ncache-ram = \"1G\"",
        "# --parallel, FATHOM_PARALLEL; now: default\n#parallel = 64",
        "\n#[[models]]\n",
        "\n#queue = 8  # FATHOM_QUEUE, as above\n",
    ] {
        assert!(out.contains(line), "{line} is not in:\n{out}");
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let file = "strict-mode-of-nobody = 1";
    assert_eq!(serve(file, &["--print-config"], &[]).0, 1);
    let file = "cache-disk = '1G'\n[[models]]\nname = 'a'\nbuiltin = true\naliases = ['x', 'y']\n\n[[models]]\npath = 'flash'\ncache-disk = '2G'\naliases = []\n";
    let first = printed(file, &["--port", "3"], &[]);
    for line in [
        "[[models]]\nname = \"a\"  # fathom.toml:3\n#path = <DIR>  # default\nbuiltin = true  # fathom.toml:4\n\
         aliases = [\"x\", \"y\"]  # fathom.toml:5\n",
        "\n#cache-disk = \"1G\"  # fathom.toml:1, as above\n",
        "\ncache-disk = \"2G\"  # fathom.toml:9\n",
        "\npath = \"flash\"  # fathom.toml:8\n",
        "\naliases = []  # fathom.toml:10\n",
    ] {
        assert!(first.contains(line), "{line} is not in:\n{first}");
    }
    let values = |printed: &str| -> Vec<String> {
        let lines = printed.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split("  # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&printed(&first, &[], &[])), values(&first));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let file = "prot = 1\ncache-ram = 'much'\n[[models]]\npth = 'x'\nthreads = 0\n";
    let (status, out, err) = serve(file, &[], &[("FATHOM_QUEUE", "many")]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "error: 5 things have to be put right:\n  \
         fathom.toml:1: prot: unknown key; did you mean port?\n  \
         fathom.toml:2: cache-ram: invalid value 'much' for '--cache-ram <BYTES>': MUCH is no unit of bytes; expected K, M, G or T\n  \
         FATHOM_QUEUE: invalid value 'many' for '--queue <N>': invalid digit found in string\n  \
         fathom.toml:4: pth: unknown key; did you mean path?\n  \
         fathom.toml:5: threads: invalid value '0' for '--threads <N>': number would be zero for non-zero type\n"
    );
    let file = "[[models]]\npath = 'nowhere'\n[[models]]\n[[models]]\nname = 'a'\nbuiltin = true\n[[models]]\nname = 'a'\nbuiltin = true\n";
    let (status, _, err) = serve(file, &["--host", "0.0.0.0"], &[]);
    assert_eq!(status, 1);
    for problem in [
        "error: 4 things have to be put right:\n",
        "fathom.toml:3: this [[models]] table says neither path = \"DIR\" nor builtin = true\n",
        "cannot open the checkpoint in nowhere: ",
        "two models are called a; give one of them another with NAME=DIR or name = \"…\"\n",
        "--host 0.0.0.0 can be reached from other machines",
    ] {
        assert!(err.contains(problem), "{problem} is not in:\n{err}");
    }
}

#[test]
fn the_file_is_looked_for_in_the_variable_and_at_home() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("fathom");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("fathom.toml"), "port = 1").unwrap();
    fs::write(dir.path().join("other.toml"), "port = 2").unwrap();
    let printed = |variable: Option<&Path>| {
        let mut command = command(&["serve", "--print-config"]);
        command.env("XDG_CONFIG_HOME", dir.path());
        if let Some(path) = variable {
            command.env("FATHOM_CONFIG", path);
        }
        text(&command.output().unwrap().stdout).to_owned()
    };
    assert!(printed(None).contains("\nport = 1\n"));
    assert!(printed(Some(&dir.path().join("other.toml"))).contains("\nport = 2\n"));
    // An empty variable is none.
    assert!(printed(Some(Path::new(""))).contains("\nport = 1\n"));
    let missing = serve("", &["--config", "missing.toml"], &[]);
    assert_eq!(missing.0, 2, "given twice: {}", missing.2);
    let output = command(&["serve", "--config", "missing.toml"]).output().unwrap();
    assert_eq!(
        text(&output.stderr),
        "error: cannot read the configuration missing.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_check_prints_the_plan() {
    let file = "cache-dir = 'states'\n[[models]]\nname = 'quick'\nbuiltin = true\ncache-ram = '8M'\n[[models]]\nname = 'expert'\nbuiltin = true\ntier = 'pro'\nthreads = 1\n";
    let (status, out, err) = serve(file, &["--check", "--port", "0"], &[]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for line in [
        "  settings     fathom.toml\n",
        "  listens on   127.0.0.1:0 (this machine alone)\n",
        "  answers      everybody; 0 keys can be used\n",
        "\nquick\n  checkpoint   built in (own)\n",
        "  also called  deepseek-v4-flash, deepseek-flash, deepseek-chat, deepseek-reasoner\n",
        "  states       8.0 MiB of memory; up to 64 answers at once, 256 may wait\n",
        "  runs with    reference numerics, 1 thread, tier pro\n",
        "  price        USD per million tokens: hit ",
        "\nEverything is in order.\n",
    ] {
        assert!(out.contains(line), "{line} is not in:\n{out}");
    }
    let (status, out, err) = serve(file, &["--check", "--json", "--port", "0"], &[]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], true);
    let quick = &report["models"][0];
    assert_eq!(quick["states_bytes"], 8 << 20);
    let (longest, fits) = (&quick["contexts"][2]["tokens"], &quick["contexts"][2]["fit"]);
    assert_eq!((longest.as_u64(), fits.as_u64()), (Some(65_536), Some(2)));
    assert!(quick["decode_tokens_per_second"]["limit"].as_f64().unwrap() > 1.0);
    assert!(
        report["models"][1]["cache_dir"]
            .as_str()
            .unwrap()
            .ends_with("states/expert")
    );
}

#[test]
fn a_check_says_everything_that_is_wrong() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let file = "cache-dir = 'fathom.toml/states'\nprices = 'nowhere.toml'\nrequire-key = true\n[[models]]\nbuiltin = true\n[[models]]\npath = 'nowhere'\n";
    let (status, out, err) = serve(file, &["--check", "--port", &port], &[]);
    assert_eq!((status, err.as_str()), (1, ""));
    for problem in [
        "5 things to be put right:\n",
        "  cannot open the checkpoint in nowhere: ",
        "  cannot write states to fathom.toml/states: fathom.toml is no directory. ",
        "  --prices: ",
        "  --require-key is said, but there is no key yet. Make one with `fathom keys create NAME`, or say --no-auth",
        &format!("  cannot listen on 127.0.0.1:{port}: "),
    ] {
        assert!(out.contains(problem), "{problem} is not in:\n{out}");
    }
    let file = "[[models]]\nbuiltin = true\nprice = 'gold'\n";
    let (status, out, _) = serve(file, &["--check", "--port", "0"], &[]);
    let problem = "  price = \"gold\": the prices have no such tier, they have flash, pro\n";
    assert!(status == 1 && out.contains(problem), "{out}");
    // A program is told in its own language.
    let (status, out, err) = serve("prot = 1", &["--check", "--json"], &[]);
    assert_eq!((status, err.as_str()), (1, ""));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        report["problems"][0],
        "fathom.toml:1: prot: unknown key; did you mean port?"
    );
}

#[test]
fn the_files_in_the_docs_are_understood() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let example = fs::read_to_string(docs.join("fathom.toml")).unwrap();
    let out = printed(&example, &[], &[]);
    assert!(out.contains("\nname = \"expert\"  # fathom.toml:"), "{out}");
    // The tables in the text.
    let guide = fs::read_to_string(docs.join("serving.md")).unwrap();
    let blocks: Vec<_> = guide.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let block = block.split("```").next().unwrap();
        if block.contains("[[price]]") {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("prices.toml");
            fs::write(&file, block).unwrap();
            let output = command(&["prices", "--prices", file.to_str().unwrap()])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        } else {
            printed(block, &[], &[]);
        }
    }
}

#[test]
fn what_does_not_fit_is_not_loaded() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("default-model");
    let file = format!(
        "port = 0\n[[models]]\nname = 'quick'\npath = '{}'\n[[models]]\nname = 'expert'\nbuiltin = true\ncache-ram = '4000T'\n",
        model.display()
    );
    let (status, out, err) = serve(&file, &[], &[]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    for part in [
        "error: not enough memory: 4000.0 TiB needed, ",
        "(quick 8.2 MiB of weights, ",
        "; expert 0 B of weights, ",
        "4000.0 TiB of states (cache-ram)). Give a smaller --cache-ram, or pass --ignore-memory to try anyway\n",
    ] {
        assert!(err.contains(part), "{part} is not in:\n{err}");
    }
}

#[test]
fn keys_are_made_in_the_file_that_the_server_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("fathom.toml"),
        "accounts = 'team'\nkey-tokens-per-day = '10M'\nhost = '0.0.0.0'\nport = 0\n",
    )
    .unwrap();
    let run = |args: &[&str]| {
        let output = command(args)
            .env("FATHOM_CONFIG", dir.path().join("fathom.toml"))
            .output()
            .unwrap();
        (
            output.status.success(),
            text(&output.stdout).to_owned() + text(&output.stderr),
        )
    };
    // Other machines could reach it, and nobody has a key.
    let (ok, said) = run(&["serve"]);
    assert!(
        !ok && said.contains("--host 0.0.0.0 can be reached from other machines, but there is no key yet"),
        "{said}"
    );
    let (ok, said) = run(&["keys", "create", "ada"]);
    assert!(ok, "{said}");
    assert!(dir.path().join("team").is_file());
    let (ok, said) = run(&["serve", "--check"]);
    assert!(
        ok && said.contains("  answers      who shows a key; 1 key can be used\n"),
        "{said}"
    );
}
