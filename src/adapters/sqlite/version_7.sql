-- Version 7: standbys.

CREATE TABLE standby (
    service TEXT NOT NULL,
    guest   TEXT NOT NULL,
    guest_name TEXT NOT NULL,
    digest  TEXT NOT NULL REFERENCES bundle (digest),
    link    TEXT NOT NULL,
    state   TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    files   TEXT REFERENCES file_set (digest),
    PRIMARY KEY (service, guest)
) STRICT, WITHOUT ROWID;
CREATE INDEX standby_by_bundle ON standby (digest);
CREATE INDEX standby_by_files ON standby (files) WHERE files IS NOT NULL;
