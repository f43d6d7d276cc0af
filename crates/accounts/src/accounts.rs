//! [`Accounts`]: everything together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::key::check_name;
use crate::key_table::{COLUMNS, KeyTable, Watch, key};
use crate::limiter::{Limiter, Permit, Refusal};
use crate::record::{Record, Recorded};
use crate::report::{self, Query, Row};
use crate::secret::{self, Secret};
use crate::writer::Writer;
use crate::{
    AccountsError, Balance, Currency, Key, KeyId, Limits, Money, NewKey, OpenError, Prices, audit, ledger,
    schema,
};

/// Keys, limits, balances and the ledger of one file, which several processes may have open; or of this process alone.
///
/// Dropping it waits until every record that was handed over is written.
#[derive(Debug)]
pub struct Accounts {
    // In the order in which they end: the writer tells the limiter.
    writer: Writer,
    watch: Option<Watch>,
    keys: Arc<KeyTable>,
    /// `None` in memory, where the only connection is the writer's.
    reader: Option<Mutex<Connection>>,
    path: Option<PathBuf>,
    limiter: Limiter,
    prices: RwLock<Arc<Prices>>,
    currency: Currency,
}

/// How accounts are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// What tokens cost.
    pub prices: Prices,
    /// What requests without a key are counted in.
    pub currency: Currency,
    /// Limits of keys that have none of their own.
    pub limits: Limits,
    /// Make the file if it is not there.
    pub create: bool,
}

impl Default for Options {
    /// Published prices, US dollars, no limits; the file is made.
    fn default() -> Self {
        Self {
            prices: Prices::deepseek(),
            currency: Currency::USD,
            limits: Limits::default(),
            create: true,
        }
    }
}

impl Accounts {
    /// Opens a file, or makes it, readable to its owner alone.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let connection = schema::open(path, options.create)?;
        let watching = schema::open_reader(path)?;
        let reader = Mutex::new(schema::open_reader(path)?);
        let accounts = Self::start(connection, Some(path), Some(reader), options);
        let started = accounts.and_then(|mut accounts| {
            accounts.watch =
                Some(Watch::start(watching, accounts.keys.clone()).map_err(|error| error.to_string())?);
            Ok(accounts)
        });
        started.map_err(|message| OpenError::Other {
            path: path.to_owned(),
            message,
        })
    }

    /// Accounts that end with this process: for tests, and for servers without a file.
    ///
    /// # Panics
    ///
    /// If the operating system has no memory or no thread left.
    pub fn in_memory(options: Options) -> Self {
        let connection = schema::open_in_memory().expect("an empty database in memory");
        Self::start(connection, None, None, options).expect("a thread")
    }

    fn start(
        connection: Connection,
        path: Option<&Path>,
        reader: Option<Mutex<Connection>>,
        options: Options,
    ) -> Result<Self, String> {
        let keys = KeyTable::load(&connection).map_err(|error| error.to_string())?;
        let limiter = Limiter::new(options.limits);
        let since = Timestamp::now();
        let used = ledger::recent_tokens(&connection, since).map_err(|error| error.to_string())?;
        for (key, ago, tokens) in used {
            limiter.seed(key, ago, tokens);
        }
        let charged = limiter.clone();
        let writer = Writer::start(connection, move |record| {
            if let Some(key) = record.key {
                charged.charge(key, record.tokens.total());
            }
        });
        Ok(Self {
            writer: writer.map_err(|error| error.to_string())?,
            watch: None,
            keys: Arc::new(keys),
            reader,
            path: path.map(Path::to_owned),
            limiter,
            prices: RwLock::new(Arc::new(options.prices)),
            currency: options.currency,
        })
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    // ---- keys -------------------------------------------------------------------------------------------------------

    /// Makes a key. Its secret is known now and never again.
    pub fn create_key(&self, new: NewKey) -> Result<(Key, Secret), AccountsError> {
        check_name(&new.name)?;
        check_limits(&new.limits)?;
        let secret = Secret::random().map_err(|error| AccountsError::Random(error.to_string()))?;
        let hash = secret::hash(secret.expose()).unwrap_or_default();
        let last_four = secret.last_four().to_owned();
        let key = self.change_keys(move |connection| {
            let taken = connection
                .query_row(
                    "SELECT 1 FROM keys WHERE name = ?1 AND revoked IS NULL",
                    [&new.name],
                    |_| Ok(()),
                )
                .optional()?;
            if taken.is_some() {
                return Err(AccountsError::NameTaken(new.name));
            }
            let Limits {
                concurrent,
                concurrent_per_model,
                tokens_per_minute,
                tokens_per_day,
            } = new.limits;
            connection.execute(
                "INSERT INTO keys (name, secret_hash, last_four, admin, currency, prepaid, concurrent, \
                 concurrent_per_model, tokens_per_minute, tokens_per_day, created) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    new.name,
                    hash,
                    last_four,
                    new.admin,
                    new.currency.code(),
                    new.prepaid,
                    concurrent,
                    concurrent_per_model,
                    integer(tokens_per_minute),
                    integer(tokens_per_day),
                    Timestamp::now().as_millisecond(),
                ],
            )?;
            key_of(connection, KeyId(connection.last_insert_rowid()))
        })?;
        Ok((key, secret))
    }

    /// Ends a key for good. Requests in progress go on; servers refuse the next one, at the latest within a second.
    pub fn revoke_key(&self, id: KeyId) -> Result<Key, AccountsError> {
        self.change_keys(move |connection| {
            connection.execute(
                "UPDATE keys SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL",
                params![id.0, Timestamp::now().as_millisecond()],
            )?;
            key_of(connection, id)
        })
    }

    /// Replaces a key's limits.
    pub fn set_limits(&self, id: KeyId, limits: Limits) -> Result<Key, AccountsError> {
        check_limits(&limits)?;
        self.change_keys(move |connection| {
            let key = live_key(connection, id)?;
            connection.execute(
                "UPDATE keys SET concurrent = ?2, concurrent_per_model = ?3, tokens_per_minute = ?4, tokens_per_day = ?5 \
                 WHERE id = ?1",
                params![
                    id.0,
                    limits.concurrent,
                    limits.concurrent_per_model,
                    integer(limits.tokens_per_minute),
                    integer(limits.tokens_per_day),
                ],
            )?;
            Ok(Key { limits, ..key })
        })
    }

    /// Adds to a prepaid key's balance; an amount below zero takes away.
    pub fn top_up(&self, id: KeyId, amount: Money, granted: bool) -> Result<Balance, AccountsError> {
        if amount == Money::ZERO {
            return Err(AccountsError::Amount(
                "the amount is 0: expected what to add, or with a minus sign what to take away",
            ));
        }
        self.change_keys(move |connection| {
            let key = live_key(connection, id)?;
            if !key.prepaid {
                return Err(AccountsError::Amount(
                    "this key has no balance: it was not made with --prepaid and may use what it likes",
                ));
            }
            let before =
                ledger::balance(connection, id)?.ok_or_else(|| AccountsError::NoSuchKey(id.to_string()))?;
            let too_much =
                || AccountsError::Amount("the balance would be too large: expected at most 9,223,372");
            let mut after = before;
            let part = if granted {
                &mut after.granted
            } else {
                &mut after.topped_up
            };
            *part = part.checked_add(amount).ok_or_else(too_much)?;
            // The total is an amount, too.
            after.granted.checked_add(after.topped_up).ok_or_else(too_much)?;
            connection.execute(
                "UPDATE keys SET granted = ?2, topped_up = ?3 WHERE id = ?1",
                params![id.0, after.granted.picos(), after.topped_up.picos()],
            )?;
            connection.execute(
                "INSERT INTO credits (key, at, amount, granted) VALUES (?1, ?2, ?3, ?4)",
                params![id.0, Timestamp::now().as_millisecond(), amount.picos(), granted],
            )?;
            Ok(after)
        })
    }

    /// All keys, revoked ones too, in the order in which they were made.
    pub fn keys(&self) -> Result<Vec<Key>, AccountsError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM keys ORDER BY id"))?;
            let keys = statement.query_map([], key)?;
            Ok(keys.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The key that people mean: the one with this name that is not revoked, or `#3` by its number.
    pub fn find_key(&self, name: &str) -> Result<Key, AccountsError> {
        let keys = self.keys()?;
        let number = name.strip_prefix('#').and_then(|number| number.parse().ok());
        let found = keys.into_iter().rev().find(|key| match number {
            Some(number) => key.id.0 == number,
            None => key.name == name && key.revoked.is_none(),
        });
        found.ok_or_else(|| AccountsError::NoSuchKey(name.to_owned()))
    }

    // ---- requests ---------------------------------------------------------------------------------------------------

    /// The key with this secret; `None` if there is none or it was revoked. From memory: well below a microsecond. What another process
    /// changes is seen within a second; if the file cannot be read for 30 seconds, that is an error.
    pub fn authenticate(&self, secret: &str) -> Result<Option<Arc<Key>>, AccountsError> {
        if self.watch.is_some() {
            self.keys.fresh()?;
        }
        Ok(secret::hash(secret).and_then(|hash| self.keys.get(&hash)))
    }

    /// What a key has left, as it is on disk: what other servers on the file have charged is in it. Tens of microseconds.
    pub fn balance(&self, id: KeyId) -> Result<Balance, AccountsError> {
        self.read(move |connection| {
            ledger::balance(connection, id)?.ok_or_else(|| AccountsError::NoSuchKey(id.to_string()))
        })
    }

    /// Lets a request of `key` for `model` begin, or says why not. The permit is held until the request has ended. Limits count
    /// what this process serves: two servers on one file each allow them.
    pub fn admit(&self, key: &Key, model: &str) -> Result<Permit, Refusal> {
        self.limiter.admit(key.id, &key.limits, model)
    }

    /// The limits as they are being used.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Keeps a finished request. When the future is ready it is on disk, its cost taken from a prepaid key's balance in the same
    /// transaction; a second record with its id changes nothing. The record is handed over before this returns, unless 4,096 are
    /// waiting: dropping the future then does not lose it. After an error the same record may be tried again.
    ///
    /// # Errors
    ///
    /// What is wrong with the id, or with the file.
    pub fn record(
        &self,
        record: Record,
    ) -> impl Future<Output = Result<Recorded, AccountsError>> + Send + use<> {
        let prices = self.prices();
        let written = record
            .priced(&prices, self.currency)
            .map(|priced| self.writer.write(priced));
        async move { written?.await }
    }

    /// Why the last records could not be written, if they could not.
    pub fn failing(&self) -> Option<String> {
        self.writer.failing()
    }

    /// The prices that records are charged by.
    pub fn prices(&self) -> Arc<Prices> {
        self.prices.read().clone()
    }

    /// Other prices from now on. What is recorded keeps its cost.
    pub fn set_prices(&self, prices: Prices) {
        *self.prices.write() = Arc::new(prices);
    }

    // ---- reports ----------------------------------------------------------------------------------------------------

    /// Sums over the ledger. Reads all rows that fit: seconds for millions.
    pub fn report(&self, query: &Query) -> Result<Vec<Row>, AccountsError> {
        let query = query.clone();
        self.read_apart(move |connection| Ok(report::rows(connection, &query)?))
    }

    /// Removes requests that began before a moment, and says how many. Balances stay; reports no longer know them.
    pub fn prune(&self, before: Timestamp) -> Result<u64, AccountsError> {
        let mut removed = 0;
        loop {
            // In pieces: servers on the file have to write in between.
            let rows = self.change(move |connection| Ok(audit::prune(connection, before)?))?;
            removed += rows;
            if rows == 0 {
                return Ok(removed);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes a copy to a new file while servers go on: everything as it is at one moment. Readable to its owner alone, and on disk
    /// when this returns.
    pub fn backup(&self, to: &Path) -> Result<(), AccountsError> {
        let problem = |error: String| AccountsError::Copy {
            path: to.to_owned(),
            error,
        };
        let path = to
            .to_str()
            .ok_or_else(|| problem("its name is not UTF-8".to_owned()))?;
        let path = path.to_owned();
        // It must be new or empty.
        let copy = schema::create_new(to).map_err(|error| problem(error.to_string()))?;
        let written = self.read_apart(move |connection| {
            // It would not write to another file either.
            connection.execute_batch("PRAGMA query_only = OFF")?;
            Ok(connection.execute("VACUUM INTO ?1", [path])?)
        });
        if let Err(error) = written {
            // Half a copy would pass for one; if it cannot be removed either, the error says enough.
            let _ = std::fs::remove_file(to);
            return Err(error);
        }
        // SQLite leaves that to the caller here.
        copy.sync_all().map_err(|error| problem(error.to_string()))
    }

    /// Holds every balance to the credits and charges behind it, and returns the keys where they differ: none, ever, unless
    /// something else has written to the file.
    pub fn audit(&self) -> Result<Vec<KeyId>, AccountsError> {
        self.read_apart(|connection| Ok(audit::wrong_balances(connection)?))
    }

    // ---- connections ------------------------------------------------------------------------------------------------

    /// One transaction of the writer.
    fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        self.writer.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })?
    }

    /// One that this process sees at once.
    fn change_keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        let done = self.change(work)?;
        let keys = self.keys.clone();
        self.writer.run(move |connection| keys.refresh(connection))??;
        Ok(done)
    }

    /// A short read.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        match &self.reader {
            Some(reader) => work(&reader.lock()),
            None => self.writer.run(|connection| work(connection))?,
        }
    }

    /// A long one, which nobody waits for.
    fn read_apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, AccountsError> + Send + 'static,
    ) -> Result<T, AccountsError> {
        match &self.path {
            Some(path) => {
                work(&schema::open_reader(path).map_err(|error| AccountsError::File(error.to_string()))?)
            }
            None => self.writer.run(|connection| work(connection))?,
        }
    }
}

fn check_limits(limits: &Limits) -> Result<(), AccountsError> {
    let zero = limits.concurrent == Some(0)
        || limits.concurrent_per_model == Some(0)
        || limits.tokens_per_minute == Some(0)
        || limits.tokens_per_day == Some(0);
    if zero {
        return Err(AccountsError::Limit(
            "a limit of 0 lets nothing through: revoke the key instead",
        ));
    }
    Ok(())
}

fn integer(limit: Option<u64>) -> Option<i64> {
    limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn key_of(connection: &Connection, id: KeyId) -> Result<Key, AccountsError> {
    connection
        .query_row(&format!("SELECT {COLUMNS} FROM keys WHERE id = ?1"), [id.0], key)
        .optional()?
        .ok_or_else(|| AccountsError::NoSuchKey(id.to_string()))
}

fn live_key(connection: &Connection, id: KeyId) -> Result<Key, AccountsError> {
    let key = key_of(connection, id)?;
    match key.revoked {
        Some(_) => Err(AccountsError::Revoked(key.name)),
        None => Ok(key),
    }
}
