-- A dump of a table as version 1 wrote it, made by the ignored test write_the_table_of_version_1.
-- Never change it: it stands for the tables that are out there.
PRAGMA foreign_keys = OFF;
PRAGMA application_id = 1752135217;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempt (
    service TEXT PRIMARY KEY NOT NULL,
    last    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "attempt" VALUES('web',1);
CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    what     TEXT NOT NULL,
    decision TEXT NOT NULL
) STRICT;
INSERT INTO "audit" VALUES(1,1,'uid 0','Move web','allowed');
CREATE TABLE bundle (
    digest     TEXT PRIMARY KEY NOT NULL,
    service    TEXT NOT NULL,
    size       INTEGER NOT NULL,
    manifest   TEXT NOT NULL, -- JSON
    units      TEXT NOT NULL, -- JSON
    registered INTEGER NOT NULL
) STRICT;
INSERT INTO "bundle" VALUES('0101010101010101010101010101010101010101010101010101010101010101','web',8192,'{"service":"web","version":"1.1","units":["web@1.service"],"check":{"probe":{"tcp":["127.0.0.1",80]},"interval":{"secs":0,"nanos":500000000},"timeout":{"secs":30,"nanos":0},"successes":3},"dns":{"name":"web.svc.lab.","ttl":30},"user":"web","config":[],"secrets":[{"name":"key","path":"/etc/web/key","mode":416,"owner":"root","group":"web"}],"ports":[80],"overlap":true,"movable":true}','[{"name":"web@.service","text":"[Service]\nExecStart=/opt/web/bin/web \"%i\"\n"}]',1001);
INSERT INTO "bundle" VALUES('0202020202020202020202020202020202020202020202020202020202020202','web',8192,'{"service":"web","version":"1.2","units":["web@1.service"],"check":{"probe":{"tcp":["127.0.0.1",80]},"interval":{"secs":0,"nanos":500000000},"timeout":{"secs":30,"nanos":0},"successes":3},"dns":{"name":"web.svc.lab.","ttl":30},"user":"web","config":[],"secrets":[{"name":"key","path":"/etc/web/key","mode":416,"owner":"root","group":"web"}],"ports":[80],"overlap":true,"movable":true}','[{"name":"web@.service","text":"[Service]\nExecStart=/opt/web/bin/web \"%i\"\n"}]',1002);
INSERT INTO "bundle" VALUES('0303030303030303030303030303030303030303030303030303030303030303','api',8192,'{"service":"api","version":"1.3","units":["web@1.service"],"check":{"probe":{"tcp":["127.0.0.1",80]},"interval":{"secs":0,"nanos":500000000},"timeout":{"secs":30,"nanos":0},"successes":3},"dns":{"name":"api.svc.lab.","ttl":30},"user":"web","config":[],"secrets":[{"name":"key","path":"/etc/web/key","mode":416,"owner":"root","group":"web"}],"ports":[80],"overlap":true,"movable":true}','[{"name":"web@.service","text":"[Service]\nExecStart=/opt/web/bin/web \"%i\"\n"}]',1003);
CREATE TABLE duty (
    service     TEXT NOT NULL,
    guest       TEXT NOT NULL,
    digest      TEXT NOT NULL REFERENCES bundle (digest),
    generation  INTEGER NOT NULL,
    serve_until INTEGER NOT NULL,
    files       TEXT REFERENCES file_set (digest),
    PRIMARY KEY (service, guest)
) STRICT, WITHOUT ROWID;
INSERT INTO "duty" VALUES('web','00000000-0000-0000-0000-000000000001','0101010101010101010101010101010101010101010101010101010101010101',2,9000,'9874d9daf513ca0f3349eb971ade139a1a111ddcdf65192074421799be5bf89b');
CREATE TABLE file_set (
    digest TEXT PRIMARY KEY NOT NULL, -- sha256 of files
    files  TEXT NOT NULL              -- JSON, contents in base64
) STRICT;
INSERT INTO "file_set" VALUES('4c03921beff536bf4f49af7db17533a4efe509a7e5480bdbc76aa2dd67566a68','[{"path":"/etc/web/key","content":"AP8Kww==","mode":416,"owner":"root","group":"web"}]');
INSERT INTO "file_set" VALUES('6abcf585ee074318574783a8389b5ff88901ed0c4b4d91ec04614f22c1e5d65a','[{"path":"/etc/web/key","content":"dGhlIGtleSBvZiB0aGUgb2xkIGNvcHk=","mode":416,"owner":"root","group":"web"}]');
INSERT INTO "file_set" VALUES('9874d9daf513ca0f3349eb971ade139a1a111ddcdf65192074421799be5bf89b','[{"path":"/etc/web/key","content":"BwcH","mode":416,"owner":"root","group":"web"}]');
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
INSERT INTO "handover" VALUES(1,'aa108b09-3cac-4e20-9898-c89c38481842','web',0,1,'{"id":"aa108b09-3cac-4e20-9898-c89c38481842","job":1,"kind":"deploy","service":"web","source":null,"target":{"guest":"00000000-0000-0000-0000-000000000001","guest_name":"vm1","host":"hv1","digest":"0101010101010101010101010101010101010101010101010101010101010101","files":[]},"generation":1,"state":{"done":{"owed":true}},"committed":false,"reason":{"name":"CheckFailed","text":"it answers 503"},"facts":{"name":"web.svc.lab.","ttl":30,"overlap":true,"life":"accessible","observed_at":1500,"observed":"accessible","enablement":"enabled","uid":998,"target_address":"2001:db8::7","old_addresses":["192.0.2.6"],"old_ttl":60,"old_owner":{"generation":1,"host":"hv1","guest":"00000000-0000-0000-0000-000000000001"},"claim_sent":true,"take_over":true,"sent":false,"published_at":4000,"drain":7000,"disk":{"serial":"ho29fafd8cae40921ae1","source":"/pool/a.squashfs","target":"sdc","address":{"controller":1,"unit":2}},"displaced":null,"retire_owed":true}}',NULL,NULL,NULL);
INSERT INTO "handover" VALUES(2,'00000000-0000-0000-0000-00000000004d','web',0,1,'{"id":"00000000-0000-0000-0000-00000000004d","job":2,"kind":"move","service":"web","source":{"guest":"00000000-0000-0000-0000-000000000001","guest_name":"vm1","host":"hv1","digest":"0101010101010101010101010101010101010101010101010101010101010101","files":[]},"target":{"guest":"00000000-0000-0000-0000-000000000002","guest_name":"vm2","host":"hv1","digest":"0101010101010101010101010101010101010101010101010101010101010101","files":[]},"generation":2,"state":{"at":{"direction":"forward","goal":"drain","phase":"acting","tries":2}},"committed":false,"reason":{"name":"CheckFailed","text":"it answers 503"},"facts":{"name":"web.svc.lab.","ttl":30,"overlap":true,"life":"accessible","observed_at":1500,"observed":"accessible","enablement":"enabled","uid":998,"target_address":"2001:db8::7","old_addresses":["192.0.2.6"],"old_ttl":60,"old_owner":{"generation":2,"host":"hv1","guest":"00000000-0000-0000-0000-000000000001"},"claim_sent":true,"take_over":true,"sent":false,"published_at":4000,"drain":7000,"disk":{"serial":"ho29fafd8cae40921ae1","source":"/pool/a.squashfs","target":"sdc","address":{"controller":1,"unit":2}},"displaced":null,"retire_owed":true}}','4c03921beff536bf4f49af7db17533a4efe509a7e5480bdbc76aa2dd67566a68','6abcf585ee074318574783a8389b5ff88901ed0c4b4d91ec04614f22c1e5d65a',NULL);
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
INSERT INTO "job" VALUES(1,'deploy','web','vm1','vm2','uid 0',2000,3000,'done','CheckFailed','it answers 503');
INSERT INTO "job" VALUES(2,'move','web','vm1','vm2','uid 0',2000,NULL,NULL,'','');
CREATE TABLE journal (
    job  INTEGER NOT NULL REFERENCES job (id),
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    step TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "journal" VALUES(1,1,2500,'stage','commit');
INSERT INTO "journal" VALUES(1,2,2500,'stage','end');
INSERT INTO "journal" VALUES(2,1,2500,'stage','commit');
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
INSERT INTO "service" VALUES('web','0101010101010101010101010101010101010101010101010101010101010101','00000000-0000-0000-0000-000000000002','vm2','hv1','192.0.2.7','accessible','running',5000,'disabled','web.svc.lab.',30,2,998,NULL,'4c03921beff536bf4f49af7db17533a4efe509a7e5480bdbc76aa2dd67566a68');
CREATE INDEX bundle_by_service ON bundle (service, registered);
CREATE INDEX service_by_bundle ON service (bundle);
CREATE INDEX service_by_files ON service (files) WHERE files IS NOT NULL;
CREATE INDEX job_open ON job (id) WHERE result IS NULL;
CREATE UNIQUE INDEX reservation ON handover (service) WHERE reserved = 1;
CREATE INDEX handover_by_target ON handover (target_files) WHERE target_files IS NOT NULL;
CREATE INDEX handover_by_source ON handover (source_files) WHERE source_files IS NOT NULL;
CREATE INDEX handover_by_displaced ON handover (displaced_files) WHERE displaced_files IS NOT NULL;
CREATE INDEX duty_by_bundle ON duty (digest);
CREATE INDEX duty_by_files ON duty (files) WHERE files IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job',2);
COMMIT;
