CREATE TABLE docs (id INT PRIMARY KEY, n INT, j JSON);
INSERT INTO docs VALUES (1, 1, '{"a": 1, "long": "0123456789012345678901234567890123456789"}');
SET binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON;
UPDATE docs SET n = 2 WHERE id = 1;
UPDATE docs SET j = JSON_SET(j, '$.a', 2) WHERE id = 1;
SET binlog_row_value_options = '', binlog_row_image = FULL;
