-- Version 6: guests and hosts that somebody works on.

CREATE TABLE maintenance (
    object TEXT PRIMARY KEY, -- JSON
    entry  TEXT NOT NULL     -- JSON
) STRICT;
