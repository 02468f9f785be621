CREATE TABLE addresses (id INT PRIMARY KEY, u UUID, i4 INET4, i6 INET6, j JSON);
INSERT INTO addresses VALUES
  (1, '123e4567-e89b-12d3-a456-426655440000', '1.2.3.4', '::1', '{"a": 1.50}'),
  (2, '00000000-0000-0000-0000-000000000000', '0.0.0.0', '::', '[ ]'),
  (3, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', NULL),
  (4, '6ccd780c-baba-4026-9564-5b8c656024db', '192.168.0.0', '2001:db8::ff00:42:8329', '"x"'),
  (5, '018bcfe5-6800-7001-8000-000000000001', '10.0.0.0', '::ffff:1.2.3.4', 'null'),
  (6, '1ec9414c-232a-6b00-b3c8-9e6bdeced846', '10.0.0.1', '1::', 'true'),
  (7, 'a1b2c3d4-e5f6-3789-0123-000000000000', '10.0.0.2', '::1.2.3.4', '1'),
  (8, '00000000-0000-7000-0000-000000000000', '10.0.0.2', '0:0:1::', '1'),
  (9, '00112233-4455-6677-c899-aabbccddeeff', '10.0.0.2', 'fe80::1:0:0:2', '1'),
  (11, '123e4567-e89b-52d3-a456-426655440000', '9.9.9.9', '1:0:2:3:4:5:6:7', '1'), (12, '123e4567-e89b-32d3-8456-426655440000', '9.9.9.9', '1:0:0:2:0:0:3:4', '1'),
  (13, '123e4567-e89b-82d3-8456-426655440000', '9.9.9.9', '::0.1.2.3', '1'), (14, '123e4567-e89b-12d3-c456-426655440000', '9.9.9.9', '1:2:3:4:5:6:7:0', '1'),
  (15, NULL, '9.9.9.9', '::ffff:0:0', '1'), (16, NULL, '9.9.9.9', '0:1:0:0:0:0:0:1', '1'), (17, NULL, '9.9.9.9', '::1:0:0', '1'), (10, NULL, NULL, NULL, NULL);
CREATE TABLE packed (id INT PRIMARY KEY, v VARCHAR(1000) COMPRESSED, t TEXT COMPRESSED, b BLOB COMPRESSED, vb VARBINARY(100) COMPRESSED, plain VARCHAR(10) CHARACTER SET latin1);
INSERT INTO packed VALUES (1, REPEAT('é', 400), REPEAT('text ', 500), REPEAT(x'00ff', 300), REPEAT('z', 100), 'ü'), (2, 'short', 's', 'b', 'v', 'x'), (3, '', '', '', '', ''), (4, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE shapes (id INT PRIMARY KEY, g GEOMETRY, p POINT, c GEOMETRYCOLLECTION, s VARCHAR(10) CHARACTER SET latin1);
INSERT INTO shapes VALUES (1, ST_GeomFromText('LINESTRING(0 0, 1 1)'), POINT(1, 2), ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))'), 'ä'), (2, NULL, NULL, NULL, NULL), (3, ST_GeomFromText('POINT(1 2)', 4326), POINT(0, 0), NULL, 'x');
CREATE TABLE hidden (id INT, v INT INVISIBLE DEFAULT 7, g INT GENERATED ALWAYS AS (id * 2) VIRTUAL, st VARCHAR(20) GENERATED ALWAYS AS (CONCAT('s', id)) STORED,
  k VARCHAR(10), PRIMARY KEY (k, id));
INSERT INTO hidden (id, k) VALUES (1, 'a'), (2, 'b');
UPDATE hidden SET k = 'c' WHERE id = 2;
