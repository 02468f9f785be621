-- What the comparison of envelopes runs while both readers follow the log; rows of `already` are there before they start.
CREATE TABLE numbers (
  id INT PRIMARY KEY, tiny TINYINT, tiny_u TINYINT UNSIGNED, bool_1 TINYINT(1), small_u SMALLINT UNSIGNED, medium MEDIUMINT,
  medium_u MEDIUMINT UNSIGNED, int_u INT UNSIGNED, big BIGINT, big_u BIGINT UNSIGNED, year_4 YEAR, bit_1 BIT(1), bit_12 BIT(12),
  bit_64 BIT(64), float_4 FLOAT, double_8 DOUBLE, dec_10_2 DECIMAL(10, 2), dec_65_30 DECIMAL(65, 30), dec_5_0 DECIMAL(5, 0));
INSERT INTO numbers VALUES
  (1, -128, 255, 1, 65535, -8388608, 16777215, 4294967295, -9223372036854775808, 18446744073709551615, 2155, 1, b'111111111111',
   18446744073709551615, 1.1, 1.1, 12345.67, 12345678901234567890123456789012345.123456789012345678901234567890, 12345),
  (2, 127, 0, 0, 0, 8388607, 0, 0, 9223372036854775807, 1, 1901, 0, 1, 1, -3.402823466e38, 1e300, -0.01, -1.5, 0),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, 0, 200, 2, 40000, 0, 9000000, 3000000000, 9007199254740993, 9223372036854775808, 0, 0, 0, 0, 0, 0, 0, 0, -1);

SET time_zone = '+02:00', sql_mode = 'ALLOW_INVALID_DATES';
CREATE TABLE times (
  id INT PRIMARY KEY, date_d DATE, time_0 TIME, time_3 TIME(3), time_6 TIME(6), datetime_0 DATETIME, datetime_3 DATETIME(3),
  datetime_6 DATETIME(6), stamp_0 TIMESTAMP NULL, stamp_3 TIMESTAMP(3) NULL, stamp_6 TIMESTAMP(6) NULL);
INSERT INTO times VALUES
  (1, '2024-02-29', '12:34:56', '12:34:56.789', '12:34:56.789012', '2024-02-29 12:34:56', '2024-02-29 12:34:56.789',
   '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789012'),
  (2, '9999-12-31', '838:59:59', '-838:59:58.999', '-00:00:00.000001', '9999-12-31 23:59:59', '1969-12-31 23:59:59.999',
   '1000-01-01 00:00:00.000001', '2038-01-19 05:14:07', '2000-01-01 00:00:00', '2000-01-01 00:00:00.5'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  -- Not '2024-02-31': Debezium 3.6 stops for good at a date of that kind.
  (4, '0000-00-00', '00:00:00', '00:00:00', '00:00:00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', NULL, NULL);
SET time_zone = '+00:00', sql_mode = DEFAULT;

CREATE TABLE texts (
  id INT PRIMARY KEY, char_10 CHAR(10), varchar_20 VARCHAR(20), latin VARCHAR(20) CHARACTER SET latin1, text_t TEXT, long_t LONGTEXT,
  binary_4 BINARY(4), varbinary_10 VARBINARY(10), blob_b BLOB, enum_e ENUM('new', 'paid', 'sent'), set_s SET('one', 'two', 'three'),
  json_j JSON);
INSERT INTO texts VALUES
  (1, 'abc', 'añ☃😀', 'Größe', 'text "quoted" \\ and\nnew line', REPEAT('é', 3), 'ab', x'00ff80', x'deadbeef', 'paid', 'one,three',
   '{"b": [1, 2.50, null, true, "x"], "a": {"n": 12345678901234567890, "d": 1e100}}'),
  (2, '', '', '', '', '', '', '', '', 'new', '', '[]'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, ' x ', '/<>&', 'ÿ', REPEAT('t', 20), 'x', x'00000000', 'ascii', 'ascii', 'sent', 'two', '"2024-01-01"');

CREATE TABLE shapes (id INT PRIMARY KEY, point_p POINT SRID 0, geometry_g GEOMETRY, world POINT SRID 4326, vector_3 VECTOR(3));
INSERT INTO shapes VALUES
  (1, POINT(1, 2), ST_GeomFromText('LINESTRING(0 0, 1 1)'), ST_GeomFromText('POINT(48.5 2.25)', 4326), STRING_TO_VECTOR('[1, 2.5, -3]')),
  (2, NULL, NULL, NULL, NULL);

CREATE TABLE changes (a INT, b VARCHAR(10), note VARCHAR(20), made INT GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (a, b));
INSERT INTO changes (a, b, note) VALUES (1, 'x', 'first'), (2, 'y', NULL), (3, 'z', 'third');
UPDATE changes SET note = 'changed' WHERE a = 1;
UPDATE changes SET b = 'yy', note = 'moved' WHERE a = 2;
DELETE FROM changes WHERE a = 3;
ALTER TABLE changes ADD COLUMN added INT DEFAULT 7 AFTER b, MODIFY note VARCHAR(40);
INSERT INTO changes (a, b, added, note) VALUES (4, 'w', 8, 'after the change');
TRUNCATE TABLE changes;
ALTER TABLE changes RENAME TO renamed;
INSERT INTO renamed (a, b, added) VALUES (5, 'v', 9);

CREATE TABLE keyless (v INT, t VARCHAR(10));
INSERT INTO keyless VALUES (1, 'one');
UPDATE keyless SET v = 2;
DELETE FROM keyless;

CREATE TABLE grouped (id INT PRIMARY KEY, v INT);
START TRANSACTION;
INSERT INTO grouped VALUES (1, 1), (2, 2);
UPDATE grouped SET v = v + 10;
DELETE FROM grouped WHERE id = 1;
COMMIT;
UPDATE already SET v = 'changed' WHERE id = 1;
CREATE TABLE ended (id INT PRIMARY KEY);
INSERT INTO ended VALUES (1);
