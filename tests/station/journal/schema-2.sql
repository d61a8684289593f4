PRAGMA application_id=1398032972;
PRAGMA user_version=2;
BEGIN TRANSACTION;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    record_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    payload TEXT NOT NULL,
    digest TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,1,'opened','2026-11-26T21:18:32.469615Z','{"classes":"defect-free,pits,scratches","fault_bin":9,"good_bin":1,"is_simulated":true,"mode":"cell","opened_at":"2026-11-26T21:18:32.469416Z","part_id":1,"recipe":"strip","recipe_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","recipe_version":3,"requested_recipe":"","station":"test"}','abf9c9bad03548c23ba17fde428395a1143f7419923cfc55ecf9d4b93d1f6bca');
INSERT INTO "events" VALUES(2,1,'verdict','2026-11-26T21:18:32.470944Z','{"backend":"openvino","bin":1,"class_index":0,"class_name":"defect-free","confidence":0.8,"cut_ms":1.218,"decided_ms":1.218,"engine_digest":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","frame_complete":true,"frame_id":7,"frame_ms":1.218,"lost_before":0,"outcome":"accept","patch":1,"precision":"int8","reason":"all 2 patches defect-free","region_height":3584,"region_lean_x":0,"region_lean_y":0,"region_width":1065,"region_x":10,"region_y":20,"scored_ms":1.218,"scores":[[0.899999976,0.0599999987,0.0399999991],[0.800000012,0.100000001,0.100000001]]}','ba0940f250214ec01809353072fa5a595c107e8da2a893944c6eb8e9b5a11b92');
INSERT INTO "events" VALUES(3,2,'opened','2026-11-26T21:18:32.471757Z','{"classes":"defect-free,pits,scratches","fault_bin":9,"good_bin":1,"is_simulated":true,"mode":"cell","opened_at":"2026-11-26T21:18:32.471722Z","part_id":2,"recipe":"strip","recipe_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","recipe_version":3,"requested_recipe":"","station":"test"}','12ee78a985ec35196364baad2014c70f1f6a25967aa7e20cfeeab0902f9bc710');
INSERT INTO "events" VALUES(4,1,'receipt','2026-11-26T21:18:32.471834Z','{"ack_bin":1,"ack_problem":"","acknowledged":true,"acknowledged_ms":2.261,"told_ms":null,"written_ms":2.228}','307557bf23659df14a24b695e6c4ed2846d4d0cc37569d522c12a797d9fce8fa');
INSERT INTO "events" VALUES(5,2,'verdict','2026-11-26T21:18:32.480780Z','{"backend":"openvino","bin":2,"class_index":1,"class_name":"pits","confidence":0.93,"cut_ms":8.949,"decided_ms":8.949,"engine_digest":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","frame_complete":true,"frame_id":7,"frame_ms":8.949,"lost_before":0,"outcome":"reject","patch":0,"precision":"int8","reason":"patch 0: pits 0.930 (most probable class)","region_height":3584,"region_lean_x":0,"region_lean_y":0,"region_width":1065,"region_x":10,"region_y":20,"scored_ms":8.949,"scores":[[0.899999976,0.0599999987,0.0399999991],[0.800000012,0.100000001,0.100000001]]}','019a355f1019472b902720736ef742fd61aa6c6715faf7256303c19f08f32ff5');
INSERT INTO "events" VALUES(6,3,'opened','2026-11-26T21:18:32.481734Z','{"classes":"defect-free,pits,scratches","fault_bin":9,"good_bin":1,"is_simulated":true,"mode":"cell","opened_at":"2026-11-26T21:18:32.481698Z","part_id":3,"recipe":"strip","recipe_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","recipe_version":3,"requested_recipe":"","station":"test"}','a04c5e1728b5f9ec13a74de64d0b1e89f9174403a23092c245a58591eb8edbc3');
INSERT INTO "events" VALUES(7,2,'receipt','2026-11-26T21:18:32.481804Z','{"ack_bin":2,"ack_problem":"","acknowledged":true,"acknowledged_ms":9.945,"told_ms":null,"written_ms":9.907}','5eb51a4ff5192d1a173bc8ac53ff4cd83c0fbf5c00c712d09c3480f25ac35253');
INSERT INTO "events" VALUES(8,3,'verdict','2026-11-26T21:18:32.484663Z','{"backend":null,"bin":9,"class_index":255,"class_name":"fault","confidence":0.0,"engine_digest":null,"frame_complete":null,"frame_id":null,"lost_before":null,"outcome":"fault","patch":null,"precision":null,"reason":"no frame: nothing for 0.5 s","region_height":null,"region_lean_x":null,"region_lean_y":null,"region_width":null,"region_x":null,"region_y":null,"scores":null}','327d8660daef2ded85003af0736cf51324899dd12559ea246a55d61ecc015282');
INSERT INTO "events" VALUES(9,3,'receipt','2026-11-26T21:18:32.488684Z','{"ack_bin":9,"ack_problem":"","acknowledged":true,"acknowledged_ms":6.945,"told_ms":null,"written_ms":6.908}','dd1acec884e4273b5ba295bdfe108c18398d6e2e5862bdd88380dc613bd927a8');
INSERT INTO "events" VALUES(10,4,'opened','2026-11-26T21:18:32.490676Z','{"classes":"defect-free,pits,scratches","fault_bin":9,"good_bin":1,"is_simulated":true,"mode":"cell","opened_at":"2026-11-26T21:18:32.490633Z","part_id":4,"recipe":"strip","recipe_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","recipe_version":3,"requested_recipe":"","station":"test"}','8e53ce856b046357e4221b28941f55ac8d2bf0de7928c1f4dcd7ad5e7c3e09f1');
INSERT INTO "events" VALUES(11,5,'opened','2026-11-26T21:18:32.492703Z','{"classes":"defect-free,pits,scratches","fault_bin":9,"good_bin":1,"is_simulated":true,"mode":"cell","opened_at":"2026-11-26T21:18:32.492663Z","part_id":5,"recipe":"strip","recipe_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","recipe_version":3,"requested_recipe":"","station":"test"}','0001ae0e5edc9e7af52e27a1bb27e846458a0a3c67b0bceb4a23b73ca3835ca7');
INSERT INTO "events" VALUES(12,4,'verdict','2026-11-26T21:18:32.500793Z','{"backend":"openvino","bin":2,"class_index":1,"class_name":"pits","confidence":0.93,"cut_ms":10.062,"decided_ms":10.062,"engine_digest":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","frame_complete":true,"frame_id":7,"frame_ms":10.062,"lost_before":0,"outcome":"reject","patch":0,"precision":"int8","reason":"patch 0: pits 0.930 (most probable class)","region_height":3584,"region_lean_x":0,"region_lean_y":0,"region_width":1065,"region_x":10,"region_y":20,"scored_ms":10.062,"scores":[[0.899999976,0.0599999987,0.0399999991],[0.800000012,0.100000001,0.100000001]]}','6c60a73e6ab1fe58897e1ad20ff246312a8570cb4a5149f3c9d40014e835cb33');
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, digest TEXT NOT NULL);
INSERT INTO "head" VALUES(1,12,'6c60a73e6ab1fe58897e1ad20ff246312a8570cb4a5149f3c9d40014e835cb33');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('created_at','2026-11-26T21:18:32.454411Z');
INSERT INTO "meta" VALUES('journal_id','c11b5f60b59f43eeb81ed496109a23e8');
INSERT INTO "meta" VALUES('station','test');
CREATE TABLE parts (
    record_id INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL,
    station TEXT NOT NULL,
    mode TEXT NOT NULL,
    is_simulated INTEGER NOT NULL,
    opened_at TEXT NOT NULL,
    recipe TEXT NOT NULL,
    recipe_version INTEGER NOT NULL,
    recipe_digest TEXT NOT NULL,
    requested_recipe TEXT NOT NULL,
    good_bin INTEGER,
    fault_bin INTEGER NOT NULL,
    classes TEXT,
    frame_id INTEGER,
    lost_before INTEGER,
    frame_complete INTEGER,
    region_x INTEGER,
    region_y INTEGER,
    region_width INTEGER,
    region_height INTEGER,
    region_lean_x INTEGER,
    region_lean_y INTEGER,
    engine_digest TEXT,
    backend TEXT,
    precision TEXT,
    outcome TEXT CHECK (outcome IN ('accept', 'reject', 'fault')),
    class_name TEXT,
    class_index INTEGER,
    confidence REAL,
    patch INTEGER,
    bin INTEGER,
    reason TEXT,
    frame_ms REAL,
    cut_ms REAL,
    scored_ms REAL,
    decided_ms REAL,
    written_ms REAL,
    told_ms REAL,
    acknowledged_ms REAL,
    acknowledged INTEGER,
    ack_bin INTEGER,
    ack_problem TEXT,
    recovered INTEGER NOT NULL,
    verdict_seq INTEGER
);
INSERT INTO "parts" VALUES(1,1,'test','cell',1,'2026-11-26T21:18:32.469416Z','strip',3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','',1,9,'defect-free,pits,scratches',7,0,1,10,20,1065,3584,0,0,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','openvino','int8','accept','defect-free',0,0.8,1,1,'all 2 patches defect-free',1.218,1.218,1.218,1.218,2.228,NULL,2.261,1,1,'',0,2);
INSERT INTO "parts" VALUES(2,2,'test','cell',1,'2026-11-26T21:18:32.471722Z','strip',3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','',1,9,'defect-free,pits,scratches',7,0,1,10,20,1065,3584,0,0,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','openvino','int8','reject','pits',1,0.93,0,2,'patch 0: pits 0.930 (most probable class)',8.949,8.949,8.949,8.949,9.907,NULL,9.945,1,2,'',0,5);
INSERT INTO "parts" VALUES(3,3,'test','cell',1,'2026-11-26T21:18:32.481698Z','strip',3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','',1,9,'defect-free,pits,scratches',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'fault','fault',255,0.0,NULL,9,'no frame: nothing for 0.5 s',NULL,NULL,NULL,NULL,6.908,NULL,6.945,1,9,'',0,8);
INSERT INTO "parts" VALUES(4,4,'test','cell',1,'2026-11-26T21:18:32.490633Z','strip',3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','',1,9,'defect-free,pits,scratches',7,0,1,10,20,1065,3584,0,0,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','openvino','int8','reject','pits',1,0.93,0,2,'patch 0: pits 0.930 (most probable class)',10.062,10.062,10.062,10.062,NULL,NULL,NULL,NULL,NULL,NULL,0,12);
INSERT INTO "parts" VALUES(5,5,'test','cell',1,'2026-11-26T21:18:32.492663Z','strip',3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','',1,9,'defect-free,pits,scratches',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
CREATE TRIGGER events_are_not_edited BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events of the journal are only ever appended'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events of the journal are only ever appended'); END;
CREATE INDEX parts_by_time ON parts (opened_at);
CREATE INDEX parts_by_outcome ON parts (outcome);
CREATE INDEX parts_by_part ON parts (part_id);
CREATE INDEX parts_unfinished ON parts (record_id) WHERE acknowledged IS NULL;
CREATE VIEW records AS
    SELECT parts.*, json_extract(events.payload, '$.scores') AS scores
    FROM parts LEFT JOIN events ON events.seq = parts.verdict_seq;
COMMIT;
