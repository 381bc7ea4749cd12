-- Version 5: why no service is moved automatically any more.

CREATE TABLE alarm (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    alarm TEXT NOT NULL -- JSON
) STRICT;
