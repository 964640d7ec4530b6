-- The first layout. Amounts never stand in columns of their own: they live in the JSON of the records they belong to.

-- Logins: a challenge is used once; only hashes of session tokens are stored.
CREATE TABLE login_challenges (
    nonce BLOB PRIMARY KEY,
    message TEXT NOT NULL,
    account_id TEXT,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
);
CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    account_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);

-- Artifacts: bytes lie in the object store; here is who may read them. An owner is an account, or `node:NUMBER`.
CREATE TABLE artifacts (
    hash BLOB PRIMARY KEY,
    bytes INTEGER NOT NULL,
    stored_at INTEGER NOT NULL
);
CREATE TABLE artifact_owners (
    hash BLOB NOT NULL,
    owner TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (hash, owner)
) WITHOUT ROWID;
CREATE INDEX artifact_owners_by_owner ON artifact_owners (owner);
-- What a run or a lease refers to; written only after its tenant's own right was checked, or for what the work itself made.
CREATE TABLE artifact_uses (
    hash BLOB NOT NULL,
    work TEXT NOT NULL, -- run or lease
    work_id INTEGER NOT NULL,
    made INTEGER NOT NULL, -- 1: the work made it, so its tenant may read it
    PRIMARY KEY (hash, work, work_id)
) WITHOUT ROWID;

-- Facts: a projection of the chain. All of it may be dropped and is read again.
CREATE TABLE facts (
    kind TEXT NOT NULL, -- node, offer, run, lease
    id INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE listing_files (
    hash BLOB NOT NULL,
    contract TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (hash, contract, name)
) WITHOUT ROWID;

-- History: events of final blocks, and whom each concerns.
CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tx TEXT NOT NULL,
    place INTEGER NOT NULL,
    height INTEGER NOT NULL,
    json TEXT NOT NULL,
    UNIQUE (tx, place)
);
CREATE TABLE history_accounts (
    account_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    change TEXT,
    PRIMARY KEY (account_id, seq)
) WITHOUT ROWID;
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- Work under way: one JSON state for each run and lease, replaced at each transition.
CREATE TABLE works (
    work TEXT NOT NULL, -- run or lease
    id INTEGER NOT NULL,
    json TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (work, id)
) WITHOUT ROWID;
CREATE TABLE rounds (
    run_id INTEGER NOT NULL,
    round INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (run_id, round)
) WITHOUT ROWID;
CREATE TABLE metrics (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL,
    json TEXT NOT NULL
);
CREATE INDEX metrics_by_run ON metrics (run_id, seq);

-- The outbox: what must happen once on chain. The signed bytes are stored before they are sent; sending them again is harmless.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    call TEXT NOT NULL,
    state TEXT NOT NULL, -- queued, signed, done, failed
    tx TEXT,
    signed BLOB,
    error TEXT,
    tries INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX outbox_by_state ON outbox (state, seq);
