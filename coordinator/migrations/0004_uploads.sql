-- Artifacts lie in chunks: the values of an artifact's chunks, 32 bytes each. None: its bytes lie whole in one object.
ALTER TABLE artifacts ADD COLUMN chunks BLOB;

-- Uploads under way, one for each owner and artifact. Who begins one proves nothing: each brings all bytes before owning them.
CREATE TABLE uploads (
    owner TEXT NOT NULL,
    hash BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    chunks BLOB NOT NULL,
    touched_at INTEGER NOT NULL,
    PRIMARY KEY (owner, hash)
) WITHOUT ROWID;
CREATE INDEX uploads_by_hash ON uploads (hash);
CREATE TABLE upload_chunks (
    owner TEXT NOT NULL,
    hash BLOB NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (owner, hash, number)
) WITHOUT ROWID;

-- Artifacts whose bytes are being removed. An upload writes its own row, then looks here; a removal writes here, then looks for uploads: one of them sees the other.
CREATE TABLE removals (
    hash BLOB PRIMARY KEY,
    chunks INTEGER NOT NULL
);
