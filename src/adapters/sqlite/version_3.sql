-- Version 3: batches, and what a decision was made of.

CREATE TABLE batch (
    job     INTEGER PRIMARY KEY REFERENCES job (id),
    guest   TEXT NOT NULL, -- whose services are moved
    target  TEXT NOT NULL, -- as it was asked for: a guest or a strategy
    options TEXT NOT NULL, -- JSON
    open    INTEGER NOT NULL CHECK (open IN (0, 1))
) STRICT;
-- A guest is emptied by one batch at a time.
CREATE UNIQUE INDEX batch_open ON batch (guest) WHERE open = 1;

CREATE TABLE batch_member (
    job         INTEGER NOT NULL REFERENCES batch (job),
    seq         INTEGER NOT NULL,
    service     TEXT NOT NULL,
    target      TEXT, -- a guest; NULL where none fits
    target_name TEXT NOT NULL,
    why         TEXT NOT NULL,
    member_job  INTEGER REFERENCES job (id),
    result      TEXT,
    details     TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX batch_member_service ON batch_member (job, service);
CREATE INDEX batch_member_job ON batch_member (member_job) WHERE member_job IS NOT NULL;

-- Of a decision where a service is to be: which one, and from what it was made (JSON, pairs of texts).
ALTER TABLE audit ADD COLUMN service TEXT;
ALTER TABLE audit ADD COLUMN inputs TEXT;
CREATE INDEX audit_by_service ON audit (service, seq) WHERE service IS NOT NULL;
