-- Version 4: a service publishes every address of its guest inside the configured networks, not one of them.

ALTER TABLE service ADD COLUMN addresses TEXT NOT NULL DEFAULT '[]';
UPDATE service SET addresses = json_array(address) WHERE address IS NOT NULL;
ALTER TABLE service DROP COLUMN address;
