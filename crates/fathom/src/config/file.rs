//! A file of settings, read but not yet understood: keys with their lines and values.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::Problems;

/// No configuration is longer than this.
const BYTES_MAX: u64 = 1 << 20;

/// What a key was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number, a string, a truth value, a date: as an argument would be typed.
    One(String),
    /// An array of such.
    Many(Vec<String>),
    /// An array of tables, as `[[key]]` makes them.
    Tables(Vec<Table>),
    /// Something no argument can take.
    Other(&'static str),
}

/// `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// Entries that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// In the order of the file.
    pub(crate) entries: Vec<Entry>,
}

/// A file that is well-formed TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) table: Table,
}

impl ConfigFile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Problems> {
        let cannot = |error| {
            Problems::one(format!(
                "cannot read the configuration {}: {error}",
                path.display()
            ))
        };
        let mut bytes = Vec::new();
        let mut file = File::open(path).map_err(cannot)?.take(BYTES_MAX + 1);
        file.read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Problems::one(format!(
                "{}: longer than {BYTES_MAX} bytes; no configuration is",
                path.display()
            )));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| Problems::one(format!("{}: not a text file: {error}", path.display())))?;
        Self::parse(path, &text)
    }

    /// Parses `text`, which came from `path`. Every syntax error is reported, with its line.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        let lines = Lines::of(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        let problems = errors.iter().map(|error| {
            let line = error.span().map_or(1, |span| lines.number(&span));
            format!("{}:{line}: {}", path.display(), error.message())
        });
        Problems(problems.collect()).into_result()?;
        Ok(Self {
            path: path.to_owned(),
            table: table(&lines, &document),
        })
    }

    /// The tables under `key`, in their order.
    pub(super) fn tables(&self, key: &str) -> &[Table] {
        let mut tables = self.table.entries.iter().filter_map(|entry| match &entry.value {
            Value::Tables(tables) if entry.key == key => Some(tables.as_slice()),
            _ => None,
        });
        tables.next().unwrap_or_default()
    }

    /// A value of this file that names a file or a directory: relative to where the file is, `~/` is the user's home.
    pub(super) fn located(&self, value: &str) -> PathBuf {
        match value.strip_prefix("~/").zip(std::env::home_dir()) {
            Some((below, home)) => home.join(below),
            None => self.path.parent().unwrap_or(Path::new("")).join(value),
        }
    }
}

fn table(lines: &Lines, table: &Spanned<DeTable<'_>>) -> Table {
    let mut entries: Vec<_> = table
        .get_ref()
        .iter()
        .map(|(key, value)| (key.span().start, key, value))
        .collect();
    entries.sort_by_key(|(start, ..)| *start);
    let entries = entries.into_iter().map(|(_, key, value)| Entry {
        key: key.get_ref().to_string(),
        line: lines.number(&key.span()),
        value: self::value(lines, value),
    });
    Table {
        line: lines.number(&table.span()),
        entries: entries.collect(),
    }
}

fn value(lines: &Lines, value: &Spanned<DeValue<'_>>) -> Value {
    if let Some(one) = one(value.get_ref()) {
        return Value::One(one);
    }
    let Some(array) = value.get_ref().as_array() else {
        return Value::Other("a table");
    };
    if let Some(many) = array.iter().map(|item| one(item.get_ref())).collect() {
        return Value::Many(many);
    }
    let tables = array.iter().map(|item| match item.get_ref() {
        DeValue::Table(entries) => Some(table(lines, &Spanned::new(item.span(), entries.clone()))),
        _ => None,
    });
    tables.collect::<Option<_>>().map_or(
        Value::Other("an array of arrays or of mixed things"),
        Value::Tables,
    )
}

/// A simple value as it would be typed for an argument.
fn one(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        // Decimal, whatever it was written in; what is beyond 128 bits stays as it is and is refused by every argument.
        DeValue::Integer(number) => Some(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(date) => Some(date.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line, counted from 1, in which something starts.
    fn number(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|newline| *newline < span.start) + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Problems> {
        ConfigFile::parse(Path::new("fathom.toml"), text)
    }

    #[test]
    fn values_are_as_they_would_be_typed() {
        let text = "port = 8_017\nhost = 'x'\nstrict = true\nt = 1.5\nhex = 0xff\n\nmany = [1, \"two\"]\nday = 2026-11-22\n";
        let entries = parse(text).unwrap().table.entries;
        let one = |key: &str, line, value: &str| Entry {
            key: key.to_owned(),
            line,
            value: Value::One(value.to_owned()),
        };
        let expected = [
            one("port", 1, "8017"),
            one("host", 2, "x"),
            one("strict", 3, "true"),
            one("t", 4, "1.5"),
            one("hex", 5, "255"),
            Entry {
                key: "many".to_owned(),
                line: 7,
                value: Value::Many(vec!["1".to_owned(), "two".to_owned()]),
            },
            one("day", 8, "2026-11-22"),
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn tables_come_in_order_with_their_lines() {
        let file = parse("[[models]]\nname = 'a'\n\n[[models]]\nname = 'b'\n[other]\n").unwrap();
        let [models, other] = file.table.entries.as_slice() else {
            panic!("{file:?}")
        };
        let Value::Tables(tables) = &models.value else {
            panic!("{models:?}")
        };
        assert_eq!(tables.iter().map(|table| table.line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(tables[1].entries[0].value, Value::One("b".to_owned()));
        assert_eq!((other.line, &other.value), (6, &Value::Other("a table")));
        for text in ["x = [[1]]", "x = [1, {}]"] {
            assert!(
                matches!(parse(text).unwrap().table.entries[0].value, Value::Other(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn every_syntax_error_has_its_line() {
        let problems = parse("port = \nhost = 'x'\nhost = 'y'\n").unwrap_err().0;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("fathom.toml:1: "), "{problems:?}");
        assert!(problems[1].starts_with("fathom.toml:3: "), "{problems:?}");
    }

    #[test]
    fn what_is_no_text_or_endless_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, b"host = '\xff'").unwrap();
        assert!(
            ConfigFile::read(&path)
                .unwrap_err()
                .to_string()
                .contains("not a text file")
        );
        std::fs::write(&path, vec![b'#'; (BYTES_MAX + 1) as usize]).unwrap();
        assert!(
            ConfigFile::read(&path)
                .unwrap_err()
                .to_string()
                .contains("longer than")
        );
        let missing = ConfigFile::read(&dir.path().join("missing"))
            .unwrap_err()
            .to_string();
        assert!(missing.starts_with("cannot read the configuration "), "{missing}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let file = ConfigFile::parse(Path::new("/etc/fathom/fathom.toml"), "").unwrap();
        assert_eq!(
            file.located("models/flash"),
            Path::new("/etc/fathom/models/flash")
        );
        assert_eq!(file.located("/models/flash"), Path::new("/models/flash"));
        assert_eq!(
            file.located("~/flash"),
            std::env::home_dir().unwrap().join("flash")
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC*|([a-z.\\[\\]{}=\"', 0-9\n#-]{0,80})") {
            if let Err(problems) = parse(&text) {
                prop_assert!(!problems.0.is_empty());
            }
        }
    }
}
