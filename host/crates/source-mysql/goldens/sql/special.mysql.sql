CREATE TABLE json (id INT PRIMARY KEY, j JSON, n JSON NOT NULL);
INSERT INTO json VALUES
  (1, '{"a": 1, "b": [1, 2.5, -3, null, true, false, "x"], "long name here": {"nested": {"deep": []}}}', '{}'),
  (2, '[0, -1, 127, 32767, 32768, -32768, -32769, 65535, 65536, 2147483647, 2147483648, -2147483648, -2147483649, 4294967295, 4294967296, 9223372036854775807, -9223372036854775808, 9223372036854775808, 18446744073709551615]', '[]'),
  (3, '[1.0, 1e13, 1e14, 1e15, 1e16, 1e17, 1e22, 1e100, 123456789012345678.5, 1234567890123456.7, 0.1, 1e-5, 1e-14, 1e-15, 1e-16, 1.5e-15, 1.2345678901234567e-15, 1.2345678901234567e-10, -0.0, 5e-324, 1.7976931348623157e308, 123456.789, -1.5e-7, 18446744073709551616]', 'null'),
  (4, '"text \\u0001 \\b\\f\\n\\r\\t \\" \\\\ / é ☃ 😀 \\u001f\\u007f"', 'true'),
  (5, NULL, '1'),
  (6, JSON_OBJECT('dec', CAST('12345678901234567890.12345678901234567890' AS DECIMAL(65,20)), 'neg', CAST(-0.5 AS DECIMAL(3,2)),
    'date', CAST('2024-02-29' AS DATE), 'time', CAST('-12:34:56.789' AS TIME(3)), 'big', CAST('838:59:59' AS TIME), 'dt', CAST('2024-02-29 12:34:56.123456' AS DATETIME(6)),
    'bin', CAST(x'00ff' AS BINARY), 'longbin', REPEAT(x'abcdef', 60), 'bit', b'101', 'empty', '', '', 'no name'), '"s"'),
  (7, JSON_OBJECT('s', REPEAT('v', 66000), 'n', 70000, 'neg', -70000, 'i16', -5, 'list', JSON_ARRAY(1, 70000, 'x', 1.5, JSON_OBJECT('deep', NULL))), '{"a": {"b": {"c": [[[[]]]]}}}'),
  (8, JSON_OBJECT(REPEAT('k', 300), REPEAT('v', 3000), 'ts', TIMESTAMP'2020-01-01 00:00:00'), '[{}]');

CREATE TABLE shapes (id INT PRIMARY KEY, g GEOMETRY, p POINT SRID 0, w POINT SRID 4326, c GEOMETRYCOLLECTION, poly POLYGON, vec VECTOR(3), big VECTOR);
INSERT INTO shapes VALUES
  (1, ST_GeomFromText('LINESTRING(0 0, 1 1, 2.5 -3)'), POINT(1, 2), ST_GeomFromText('POINT(48.8 2.3)', 4326),
   ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))'), ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))'), STRING_TO_VECTOR('[1, 2.5, -3e10]'), STRING_TO_VECTOR('[0.1]')),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (3, ST_GeomFromText('POINT(10 20)', 3857), POINT(-1, -2), ST_GeomFromText('POINT(-33 151)', 4326), ST_GeomFromText('GEOMETRYCOLLECTION EMPTY'), NULL, STRING_TO_VECTOR('[0,0,0]'), NULL);

CREATE TABLE hidden (id INT, v INT INVISIBLE DEFAULT 7, g INT GENERATED ALWAYS AS (id * 2) VIRTUAL, st VARCHAR(20) GENERATED ALWAYS AS (CONCAT('s', id)) STORED,
  k VARCHAR(10), PRIMARY KEY (k, id), KEY (( id + 1 )));
INSERT INTO hidden (id, k) VALUES (1, 'a'), (2, 'b');
UPDATE hidden SET k = 'c' WHERE id = 2;

CREATE TABLE prefixed (t VARCHAR(100), id INT, PRIMARY KEY (id, t(10)));
INSERT INTO prefixed VALUES ('x', 1);

CREATE TABLE chinese (id INT PRIMARY KEY, g VARCHAR(20) CHARACTER SET gb18030, m VARCHAR(20) CHARACTER SET macce);
INSERT INTO chinese VALUES (1, '中文😀€ḿ𠀀ü', 'Žluť'), (2, 'ascii', '');

-- Which columns count as having a charset, in what the log says of those.
CREATE TABLE mixed (id INT PRIMARY KEY, j JSON, c1 VARCHAR(10) CHARACTER SET latin1, g GEOMETRY, c2 CHAR(10) CHARACTER SET cp1251, v VECTOR(2),
  c3 TEXT CHARACTER SET ucs2, b BIT(3), e ENUM('ä', 'ö') CHARACTER SET latin1, c4 VARCHAR(10), y YEAR, n INT UNSIGNED, bl BLOB, c5 VARCHAR(10) CHARACTER SET gbk);
INSERT INTO mixed VALUES (1, '1', 'é', POINT(1, 2), 'Ж', STRING_TO_VECTOR('[1,2]'), '☃', 5, 'ö', '☃é', 2024, 4000000000, x'ff', '中');
