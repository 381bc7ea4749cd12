-- Version 1 of the service table. Never edit a version that was released: write the next one.
-- Times are milliseconds since 1970 (UTC); digests and UUIDs are lower-case text.

CREATE TABLE bundle (
    digest     TEXT PRIMARY KEY NOT NULL,
    service    TEXT NOT NULL,
    size       INTEGER NOT NULL,
    manifest   TEXT NOT NULL, -- JSON
    units      TEXT NOT NULL, -- JSON
    registered INTEGER NOT NULL
) STRICT;
CREATE INDEX bundle_by_service ON bundle (service, registered);

-- Config and secrets: one row for each different set, shared by the rows that name it, so that the
-- many saves of a handover do not write them again. A set that no row names is deleted.
CREATE TABLE file_set (
    digest TEXT PRIMARY KEY NOT NULL, -- sha256 of files
    files  TEXT NOT NULL              -- JSON, contents in base64
) STRICT;

CREATE TABLE service (
    id          TEXT PRIMARY KEY NOT NULL,
    bundle      TEXT NOT NULL REFERENCES bundle (digest),
    guest       TEXT NOT NULL,
    guest_name  TEXT NOT NULL,
    host        TEXT NOT NULL,
    address     TEXT,
    wanted      TEXT NOT NULL,
    observed    TEXT NOT NULL,
    observed_at INTEGER NOT NULL,
    enablement  TEXT NOT NULL,
    dns_name    TEXT,
    dns_ttl     INTEGER,
    generation  INTEGER NOT NULL,
    uid         INTEGER,
    frozen      TEXT,
    files       TEXT REFERENCES file_set (digest)
) STRICT;
CREATE INDEX service_by_bundle ON service (bundle);
CREATE INDEX service_by_files ON service (files) WHERE files IS NOT NULL;

-- AUTOINCREMENT: a job's number is never used twice, not even after its row was deleted.
CREATE TABLE job (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    operation     TEXT NOT NULL,
    object        TEXT NOT NULL,
    source        TEXT NOT NULL,
    target        TEXT NOT NULL,
    started_by    TEXT NOT NULL,
    started       INTEGER NOT NULL,
    finished      INTEGER,
    result        TEXT,
    error_name    TEXT NOT NULL,
    error_details TEXT NOT NULL
) STRICT;
CREATE INDEX job_open ON job (id) WHERE result IS NULL;

CREATE TABLE handover (
    job             INTEGER PRIMARY KEY REFERENCES job (id),
    id              TEXT NOT NULL UNIQUE,
    service         TEXT NOT NULL,
    reserved        INTEGER NOT NULL CHECK (reserved IN (0, 1)),
    format          INTEGER NOT NULL, -- of record
    record          TEXT NOT NULL,    -- JSON, without the sets of files
    target_files    TEXT REFERENCES file_set (digest),
    source_files    TEXT REFERENCES file_set (digest),
    displaced_files TEXT REFERENCES file_set (digest)
) STRICT;
-- The reservation: at most one handover of a service holds it.
CREATE UNIQUE INDEX reservation ON handover (service) WHERE reserved = 1;
CREATE INDEX handover_by_target ON handover (target_files) WHERE target_files IS NOT NULL;
CREATE INDEX handover_by_source ON handover (source_files) WHERE source_files IS NOT NULL;
CREATE INDEX handover_by_displaced ON handover (displaced_files) WHERE displaced_files IS NOT NULL;

CREATE TABLE duty (
    service     TEXT NOT NULL,
    guest       TEXT NOT NULL,
    digest      TEXT NOT NULL REFERENCES bundle (digest),
    generation  INTEGER NOT NULL,
    serve_until INTEGER NOT NULL,
    files       TEXT REFERENCES file_set (digest),
    PRIMARY KEY (service, guest)
) STRICT, WITHOUT ROWID;
CREATE INDEX duty_by_bundle ON duty (digest);
CREATE INDEX duty_by_files ON duty (files) WHERE files IS NOT NULL;

CREATE TABLE journal (
    job  INTEGER NOT NULL REFERENCES job (id),
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    step TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    what     TEXT NOT NULL,
    decision TEXT NOT NULL
) STRICT;

-- Outlives the service: a guest remembers the highest attempt that it has seen.
CREATE TABLE attempt (
    service TEXT PRIMARY KEY NOT NULL,
    last    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
