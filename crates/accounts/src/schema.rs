//! The file: how it is opened, what is in it, how old ones are brought up to date.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::OpenError;

/// "FthA": what says that a database is ours.
const APPLICATION_ID: i64 = 0x4674_6841;

/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Step n makes version n + 1 of what version n was. Published steps never change.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// Opens `path` for writing; makes it if it is not there and may be made.
pub(crate) fn open(path: &Path, create: bool) -> Result<Connection, OpenError> {
    open_within(path, create, BUSY_TIMEOUT)
}

fn open_within(path: &Path, create: bool, patience: Duration) -> Result<Connection, OpenError> {
    make(path, create)?;
    let error = |error: rusqlite::Error| open_error(path, &error);
    let mut connection = connect(path).map_err(error)?;
    connection.busy_timeout(patience).map_err(error)?;
    identify(&connection, path)?;
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(error)?;
    if mode != "wal" {
        return Err(OpenError::NoWriteAheadLog {
            path: path.to_owned(),
        });
    }
    settle(&connection).map_err(error)?;
    migrate(&mut connection, MIGRATIONS).map_err(error)?;
    // What migrated meanwhile may have been a newer program.
    identify(&connection, path)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    Ok(connection)
}

/// A second connection to a file that [`open`] has opened, to read.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let connection = connect(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch("PRAGMA query_only = ON")?;
        Ok(connection)
    };
    open().map_err(|error| open_error(path, &error))
}

/// A database of this process alone.
pub(crate) fn open_in_memory() -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    settle(&connection)?;
    migrate(&mut connection, MIGRATIONS)?;
    Ok(connection)
}

/// Makes the file, unless it is there. SQLite gives its side files the same permissions.
fn make(path: &Path, create: bool) -> Result<(), OpenError> {
    if !create && !path.exists() {
        return Err(OpenError::Missing {
            path: path.to_owned(),
        });
    }
    match create_new(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(OpenError::Create {
            path: path.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

/// An empty file for its owner alone; an error if there is one already.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Not as a URI: a path is a path. No mutex: each connection has one owner.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// What every writing connection is set to.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    // FULL: a commit is on disk when it returns, whatever the machine does next.
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY")
}

/// Whether the file is ours, or still empty, and of a version that we know.
fn identify(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| open_error(path, &error))
    };
    let path = path.to_owned();
    let known = MIGRATIONS.len() as i64;
    let found = number("PRAGMA user_version")?;
    let empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    if number("PRAGMA application_id")? != APPLICATION_ID && !(empty && found == 0) {
        Err(OpenError::Foreign { path })
    } else if found > known {
        Err(OpenError::Newer { path, found, known })
    } else {
        Ok(())
    }
}

/// Takes the steps that the file has not seen, all or none. Two processes may try at once.
fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    // Nothing to do, or a newer program was here first. Until here it was seen whether the file can be written.
    let steps_left = steps.get(version.max(0) as usize..).unwrap_or(&[]);
    if steps_left.is_empty() {
        return Ok(());
    }
    for step in steps_left {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as i64)?;
    transaction.commit()
}

fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let message = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, message },
        _ => OpenError::Other { path, message },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    #[cfg(unix)]
    fn a_new_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = dir();
        let path = dir.path().join("accounts");
        let connection = open(&path, true).unwrap();
        for name in ["accounts", "accounts-wal", "accounts-shm"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        drop(connection);
        open(&path, false).unwrap();
    }

    #[test]
    fn every_commit_is_synchronised() {
        let dir = dir();
        let connection = open(&dir.path().join("accounts"), true).unwrap();
        let pragma = |name: &str| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(
            (pragma("journal_mode"), pragma("synchronous")),
            ("wal".to_owned(), "2".to_owned())
        );
    }

    #[test]
    fn steps_are_taken_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = [
            "CREATE TABLE a (x)",
            "INSERT INTO a VALUES (1)",
            "UPDATE a SET x = x + 1",
        ];
        for upto in [1, 2, 2, 3, 3] {
            migrate(&mut connection, &steps[..upto]).unwrap();
        }
        let x: i64 = connection
            .query_row("SELECT sum(x) FROM a", [], |row| row.get(0))
            .unwrap();
        assert_eq!(x, 2);
        // A step that fails leaves the file as it was.
        let steps = [&steps[..], &["INSERT INTO a VALUES (5)", "nonsense"]].concat();
        assert!(migrate(&mut connection, &steps).is_err());
        let state: (i64, i64) = connection
            .query_row(
                "SELECT sum(x), (SELECT user_version FROM pragma_user_version) FROM a",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(state, (2, 3));
    }

    #[test]
    fn what_is_not_ours_is_refused_and_left_alone() {
        let dir = dir();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "Dear diary, ".repeat(100)).unwrap();
        assert!(matches!(open(&path, true), Err(OpenError::NotADatabase { .. })));
        assert_eq!(fs::read(&path).unwrap(), "Dear diary, ".repeat(100).as_bytes());
        let path = dir.path().join("other.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(open(&path, true), Err(OpenError::Foreign { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(matches!(
            open(&dir.path().join("none"), false),
            Err(OpenError::Missing { .. })
        ));
        assert!(matches!(
            open(&dir.path().join("no/dir"), true),
            Err(OpenError::Create { .. })
        ));
        assert!(matches!(open(dir.path(), true), Err(OpenError::Other { .. })));
    }

    #[test]
    fn newer_locked_and_damaged_files_are_told_apart() {
        let dir = dir();
        let path = dir.path().join("accounts");
        let connection = open(&path, true).unwrap();
        connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let patience = Duration::from_millis(20);
        assert!(matches!(
            open_within(&path, true, patience),
            Err(OpenError::Locked { .. })
        ));
        connection
            .execute_batch("COMMIT; PRAGMA user_version = 99")
            .unwrap();
        drop(connection);
        let error = open(&path, true).unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Newer {
                    found: 99,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 1; PRAGMA journal_mode = DELETE")
            .unwrap();
        drop(connection);
        let mut bytes = fs::read(&path).unwrap();
        // The header of the first page's tree.
        bytes[100..120].fill(0xff);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(open(&path, true), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn two_may_make_the_file_at_once() {
        let dir = dir();
        let path = dir.path().join("accounts");
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| open(&path, true).map(drop)))
                .collect();
            for opener in openers {
                opener.join().unwrap().unwrap();
            }
        });
    }
}
