-- Times are milliseconds since 1970 in UTC, durations milliseconds, amounts 10^-12 of a currency, flags 0 or 1.

CREATE TABLE keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    last_four TEXT NOT NULL,
    admin INTEGER NOT NULL CHECK (admin IN (0, 1)),
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    prepaid INTEGER NOT NULL CHECK (prepaid IN (0, 1)),
    concurrent INTEGER,
    concurrent_per_model INTEGER,
    tokens_per_minute INTEGER,
    tokens_per_day INTEGER,
    created INTEGER NOT NULL,
    revoked INTEGER,
    -- The balance: credits minus charges.
    granted INTEGER NOT NULL DEFAULT 0,
    topped_up INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX live_key_names ON keys (name) WHERE revoked IS NULL;

-- One row: counts the changes that a server must see. Balances are not among them.
CREATE TABLE keys_version (version INTEGER NOT NULL) STRICT;
INSERT INTO keys_version VALUES (0);
CREATE TRIGGER key_made AFTER INSERT ON keys BEGIN
    UPDATE keys_version SET version = version + 1;
END;
CREATE TRIGGER key_changed AFTER UPDATE OF name, secret_hash, admin, prepaid, concurrent, concurrent_per_model,
    tokens_per_minute, tokens_per_day, revoked ON keys BEGIN
    UPDATE keys_version SET version = version + 1;
END;

-- What was paid in; below zero, what removed requests had cost, so that credits minus charges stay the balance.
CREATE TABLE credits (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL REFERENCES keys (id),
    at INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    granted INTEGER NOT NULL CHECK (granted IN (0, 1))
) STRICT;

-- One row per finished request.
CREATE TABLE requests (
    id TEXT NOT NULL UNIQUE,
    -- NULL: asked without a key, on the server's own machine.
    key INTEGER REFERENCES keys (id),
    user_id TEXT NOT NULL,
    model TEXT NOT NULL,
    wire TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    prefill INTEGER NOT NULL,
    decode INTEGER NOT NULL,
    hit INTEGER NOT NULL,
    miss INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    currency TEXT NOT NULL,
    -- NULL, both: there was no price. The price alone: it was not billed.
    price TEXT,
    cost INTEGER,
    -- What was taken from the key's balance.
    from_granted INTEGER NOT NULL,
    from_topped_up INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_by_time ON requests (started);
CREATE INDEX requests_by_key ON requests (key, started);
