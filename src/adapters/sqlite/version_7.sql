-- Version 7: standbys; what was seen to have failed goes elsewhere as failed.

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

-- Before, services of a guest that was off were seen as failed too. What has failed by itself is seen again.
UPDATE service SET observed = wanted WHERE observed = 'failed' AND wanted IN ('running', 'accessible');
