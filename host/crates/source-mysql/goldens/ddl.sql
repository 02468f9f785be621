CREATE TABLE numbers (a tinyint, b tinyint(1), c tinyint(1) unsigned, d int2, e mediumint unsigned, f int(5), g integer zerofill, h bigint(20) unsigned, i int8, j bool, k boolean NOT NULL, l serial, m bit, n bit(64), o year, p decimal, q dec(5), r numeric(65,30) unsigned, s fixed(10,0) zerofill, t float, u float(10), v float(53), w float(7,4), x double precision, y real, z double(10,2) unsigned, aa smallint(3) zerofill, bb float4, cc float8, dd middleint, ee int3, ff int1 signed);

CREATE TABLE times (a date, b time, c time(0), d time(6), e datetime(3), f timestamp(6) NULL, g timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, h datetime(6) DEFAULT NOW(6) ON UPDATE NOW(6), i datetime DEFAULT '2024-01-01 00:00:00' COMMENT 'it''s NOT NULL, (yes)');

CREATE TABLE texts (a char, b char(5), c character varying(5), d varchar(10), e nchar(3), f national varchar(7), g national character varying(7), h nvarchar(7), i char varying(9), j tinytext, k text, l text(100), m text(20000), n mediumtext, o longtext, p long, q long varchar, r long varbinary, s binary, t binary(16), u varbinary(20), v blob, w blob(10), x blob(70000), y tinyblob, z mediumblob, aa longblob, bb char(3) byte, cc varchar(3) character set latin1, dd text charset koi8r collate koi8r_bin, ee char(3) collate latin1_swedish_ci, ff char(10) binary, gg char(4) character set binary, hh text character set binary, ii varchar(9) character set binary, jj char(3) ascii, kk char(3) unicode) DEFAULT CHARSET=utf8mb4;

CREATE TABLE labels (a enum('x','y'), b enum ( 'it''s' , "q""q", 'a,b)', 'sp  ' ) NOT NULL DEFAULT 'a,b)', c set('a','b') CHARACTER SET latin1, d enum('1') character set binary, e enum('ä','\\x') COLLATE utf8mb4_bin);

CREATE TABLE shapes (a geometry, b point NOT NULL, c linestring, d polygon, e multipoint, f multilinestring, g multipolygon, h geometrycollection, SPATIAL INDEX (b));

-- mysql
CREATE TABLE news (a json, b json DEFAULT (JSON_OBJECT('a', 1)), c vector(3), d vector, e point SRID 4326, f geomcollection, g int INVISIBLE, h int VISIBLE, i varchar(20) CHECK (i <> 'x') NOT ENFORCED, j int COLUMN_FORMAT DYNAMIC STORAGE DISK, CONSTRAINT kk CHECK (h > 0), KEY ((h + 2), h), UNIQUE fn ((h + 1)));

-- mariadb
CREATE TABLE news (a json, b longtext CHECK (json_valid(b)), c uuid, d inet4, e inet6, f varchar(100) COMPRESSED, g text COMPRESSED=zlib, h int INVISIBLE, i int DEFAULT (1 + 1), j int AS (h + 1) PERSISTENT, k point REF_SYSTEM_ID=101, l text COLLATE utf8mb4_uca1400_ai_ci, CONSTRAINT kk CHECK (h > 0));

CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL, c int AS (a * 2) STORED, d varchar(10) AS (concat('(', a, ',')) VIRTUAL COMMENT ',', e int GENERATED ALWAYS AS (a) STORED UNIQUE);

CREATE TABLE keys1 (a int, b int NOT NULL, c varchar(50) NOT NULL, d int, e text, PRIMARY KEY (b, a), UNIQUE KEY (c), UNIQUE KEY (c, d), KEY (d), INDEX named USING BTREE (d DESC, b) COMMENT 'x', UNIQUE pre (c(3)), FULLTEXT KEY (e), CONSTRAINT con UNIQUE (d, c), KEY (e(10)));

CREATE TABLE parent (id int PRIMARY KEY, x int UNIQUE KEY NOT NULL);
CREATE TABLE child (id int NOT NULL UNIQUE, p int REFERENCES parent (id) ON DELETE SET NULL, q int, CONSTRAINT fk FOREIGN KEY (q) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE NO ACTION, FOREIGN KEY (p) REFERENCES golden.parent (x) ON UPDATE CASCADE, KEY (q), UNIQUE (p)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC COMMENT='DEFAULT CHARSET=latin1' AUTO_INCREMENT=7;
ALTER TABLE child DROP FOREIGN KEY fk, DROP INDEX q;

CREATE TABLE options_ (a char(3), b text) ENGINE=InnoDB DEFAULT CHARACTER SET = latin1 COLLATE = latin1_bin;
CREATE TABLE collated (a char(3)) COLLATE utf8mb3_bin;
CREATE TABLE bytes_ (a char(3), b text, c varchar(4), d enum('x')) CHARSET=binary;
CREATE TABLE parts (id int PRIMARY KEY, a int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);
ALTER TABLE parts ADD COLUMN b int AFTER id, ALGORITHM=INPLACE, LOCK=NONE;
ALTER TABLE parts DROP PARTITION p0;
ALTER TABLE parts REMOVE PARTITIONING;

CREATE TABLE parts2 (id int PRIMARY KEY, a int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN (30), PARTITION p3 VALUES LESS THAN (40), PARTITION p4 VALUES LESS THAN (50), PARTITION p5 VALUES LESS THAN MAXVALUE);
ALTER TABLE parts2 TRUNCATE PARTITION p0, p1;
ALTER TABLE parts2 REBUILD PARTITION p0, p1;
ALTER TABLE parts2 ANALYZE PARTITION p0, p1;
ALTER TABLE parts2 CHECK PARTITION p0, `p1`;
ALTER TABLE parts2 REORGANIZE PARTITION p0, p1 INTO (PARTITION n0 VALUES LESS THAN (5), PARTITION n1 VALUES LESS THAN (20));
ALTER TABLE parts2 DROP PARTITION p2, p3, p4;
ALTER TABLE parts2 ADD COLUMN b int, ORDER BY a DESC, parts2.id, b ASC;
ALTER TABLE parts2 FORCE, ORDER BY a, b;

CREATE DATABASE golden2 DEFAULT CHARACTER SET latin1;
CREATE TABLE golden2.t (a char(3), b text(60000));
USE golden2;
CREATE TABLE u (a char(3));
CREATE TABLE IF NOT EXISTS u (z int);
CREATE TABLE golden.w LIKE u;
CREATE TABLE x (LIKE golden.w);
ALTER DATABASE golden2 CHARACTER SET utf8mb3;
CREATE TABLE y (a char(3));
ALTER TABLE u ADD b char(3), ADD c char(3) CHARACTER SET ascii;
ALTER TABLE u DEFAULT CHARACTER SET utf8mb4, ADD d char(3);
DROP TABLE IF EXISTS golden.w, t;

CREATE TABLE moves (a int, b int, c int, d int, PRIMARY KEY (a), KEY (b, c), UNIQUE (d));
ALTER TABLE moves ADD e int FIRST, ADD COLUMN f int AFTER a, MODIFY b bigint AFTER d;
ALTER TABLE moves ADD (g int, h varchar(3) NOT NULL), DROP COLUMN c;
ALTER TABLE moves CHANGE d dd int unsigned NOT NULL, CHANGE COLUMN g g2 text FIRST;
ALTER TABLE moves RENAME COLUMN e TO f, RENAME COLUMN f TO e;
ALTER TABLE moves DROP PRIMARY KEY, ADD PRIMARY KEY (dd), ADD UNIQUE (h), ADD INDEX (h), ADD CONSTRAINT two UNIQUE KEY (b, h);
ALTER TABLE moves RENAME INDEX d TO d2, DROP INDEX h, ADD UNIQUE KEY h (h(2)), ENGINE=InnoDB, COMMENT='x';
ALTER TABLE moves ALTER a SET DEFAULT 5, ALTER COLUMN b DROP DEFAULT, AUTO_INCREMENT = 4, FORCE;
CREATE INDEX later ON moves (a, b);
CREATE UNIQUE INDEX later2 USING BTREE ON moves (a) COMMENT 'x';
DROP INDEX later ON moves;

CREATE TABLE wide (a tinytext, b text, c mediumtext, d char(3), e varchar(10), f enum('ä'), g set('x'), h binary(3), i blob, j text CHARACTER SET utf8mb4, k tinytext CHARACTER SET utf8mb3, l char(3) CHARACTER SET ascii) CHARSET=latin1;
ALTER TABLE wide CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, ADD m text, ADD n tinytext CHARACTER SET latin1;
ALTER TABLE wide CONVERT TO CHARACTER SET latin1;

CREATE TABLE t (a int PRIMARY KEY);
CREATE TABLE _t_gho LIKE t;
ALTER TABLE `golden`.`_t_gho` ADD COLUMN b int;
RENAME TABLE `golden`.`t` TO `golden`.`_t_del`, `golden`.`_t_gho` TO `golden`.`t`;
DROP TABLE `_t_del`;
ALTER TABLE t RENAME TO u, ADD c int;
ALTER TABLE u RENAME AS v;
ALTER TABLE v RENAME golden.`w x`;
RENAME TABLE `w x` TO z;

CREATE /*!50000 TABLE */ hints (a int /*!50503 , b int */, c int) /*!50100 ENGINE=InnoDB */ /* COMMENT */ # the end
;
/* before */ ALTER TABLE hints -- a comment
ADD d int;
TRUNCATE TABLE hints;
SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES');
CREATE TABLE "quo""ted" ("a b" int, `c"d` int, "PRIMARY" int, PRIMARY KEY ("a b"));
ALTER TABLE "quo""ted" ADD COLUMN "x" enum('y') AFTER "a b";

CREATE TABLE lates (a int NOT NULL, b int, c int NOT NULL, UNIQUE (b), UNIQUE (c));
ALTER TABLE lates MODIFY b int NOT NULL;
ALTER TABLE lates ADD UNIQUE (a), MODIFY c int;
ALTER TABLE lates MODIFY COLUMN c int NOT NULL FIRST, ADD d serial;

-- mariadb
CREATE TABLE ifs (a int, b int, KEY k (a));
ALTER TABLE IF EXISTS ifs ADD COLUMN IF NOT EXISTS a text, ADD COLUMN IF NOT EXISTS c int, DROP COLUMN IF EXISTS z, DROP INDEX IF EXISTS nope, ADD INDEX IF NOT EXISTS k (b), MODIFY COLUMN IF EXISTS z int, RENAME COLUMN IF EXISTS y TO x;
CREATE OR REPLACE TABLE ifs2 (a int);
CREATE OR REPLACE TABLE ifs2 (b int);
CREATE OR REPLACE INDEX k ON ifs (c);
SET STATEMENT max_statement_time = 100 FOR ALTER TABLE ifs2 ADD c int;
ALTER ONLINE TABLE ifs2 ADD d int, ALGORITHM=INSTANT;
ALTER TABLE ifs2 NOWAIT ADD e int;
RENAME TABLE IF EXISTS ifs2 WAIT 5 TO ifs3;

-- mysql
CREATE TABLE eights (a int, b int, c int);
ALTER TABLE eights ALTER COLUMN b SET INVISIBLE, ADD INDEX i (a), ADD CONSTRAINT ck CHECK (a > 0);
ALTER TABLE eights ALTER INDEX i INVISIBLE;
ALTER TABLE eights DROP CHECK ck, ADD CONSTRAINT u UNIQUE (c), ALTER b SET DEFAULT (1 + 2);
ALTER TABLE eights DROP CONSTRAINT u, ADD UNIQUE ((a + b));
CREATE TABLE eights2 SELECT a, c, 'x' AS d FROM eights;
