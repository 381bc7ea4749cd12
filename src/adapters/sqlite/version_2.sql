-- Version 2: data volumes.

ALTER TABLE service ADD COLUMN volume TEXT; -- JSON
