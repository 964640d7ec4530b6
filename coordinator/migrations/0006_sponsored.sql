-- What the sponsor gave in the last day: accounts that it made, and calls that it sent. Nothing older is kept.
CREATE TABLE sponsored (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, -- account or call
    whose TEXT NOT NULL, -- an address for accounts, an account for calls
    amount INTEGER NOT NULL, -- accounts, or Tgas
    at INTEGER NOT NULL
);
CREATE INDEX sponsored_by_kind ON sponsored (kind, whose, at);
