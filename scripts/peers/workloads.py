"""What is written while nobody reads, so that readers have it before them. Every workload tells how many events it makes."""

# A row of `orders` takes about 300 bytes of the log: 3 integers, 5 texts, a decimal, a boolean, 2 times.
TABLES = """
DROP DATABASE IF EXISTS bench;
CREATE DATABASE bench;
USE bench;
CREATE TABLE marker (id BIGINT AUTO_INCREMENT PRIMARY KEY);
CREATE TABLE orders (
  id BIGINT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, kind INT NOT NULL, name VARCHAR(60) NOT NULL, email VARCHAR(60),
  address VARCHAR(120), status VARCHAR(20), note VARCHAR(200), total DECIMAL(12, 2), paid TINYINT(1), created DATETIME(3),
  changed TIMESTAMP(3));
CREATE TABLE warehouse (w INT PRIMARY KEY, name VARCHAR(40), ytd DECIMAL(14, 2));
CREATE TABLE district (
  w INT, d INT, name VARCHAR(40), street VARCHAR(60), next_order INT, ytd DECIMAL(14, 2), PRIMARY KEY (w, d));
CREATE TABLE customer (
  w INT, d INT, c INT, first VARCHAR(20), last VARCHAR(20), street VARCHAR(60), phone CHAR(16), since DATETIME,
  balance DECIMAL(12, 2), payments INT, data VARCHAR(250), PRIMARY KEY (w, d, c));
CREATE TABLE history (
  id BIGINT AUTO_INCREMENT PRIMARY KEY, w INT, d INT, c INT, at DATETIME(6), amount DECIMAL(8, 2), data VARCHAR(60));
CREATE TABLE placed (
  w INT, d INT, o INT, c INT, at DATETIME(6), carrier INT, line_count INT, PRIMARY KEY (w, d, o));
CREATE TABLE open_order (w INT, d INT, o INT, PRIMARY KEY (w, d, o));
CREATE TABLE order_line (
  w INT, d INT, o INT, n INT, item INT, delivered DATETIME(6), quantity INT, amount DECIMAL(8, 2), dist CHAR(24),
  PRIMARY KEY (w, d, o, n));
CREATE TABLE stock (
  w INT, item INT, quantity INT, ytd INT, orders INT, dist_01 CHAR(24), dist_02 CHAR(24), dist_03 CHAR(24), dist_04 CHAR(24),
  data VARCHAR(120), PRIMARY KEY (w, item));
"""

NAMES = [
    "marker", "orders", "warehouse", "district", "customer", "history", "placed", "open_order", "order_line", "stock",
]

# Not for the tables' sake: rows to select from.
FIRST_ROWS = """
USE bench;
SET SESSION sql_log_bin = 0;
CREATE TABLE digits (n INT PRIMARY KEY) SELECT d.n + 10 * e.n + 100 * f.n + 1000 * g.n AS n FROM
  (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) d,
  (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) e,
  (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) f,
  (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) g;
INSERT INTO warehouse SELECT n, CONCAT('Warehouse ', n), 0 FROM digits WHERE n < 4;
INSERT INTO district SELECT w, n, CONCAT('District ', n), 'Some Street 12, Some Town', 1, 0 FROM warehouse, digits WHERE n < 10;
INSERT INTO customer SELECT w, d, n, CONCAT('First', n), 'Barbarbar', 'Some Street 12, Some Town', '0123456789012345', NOW(), 0, 0,
  REPEAT('customer data ', 14) FROM district, digits WHERE n < 300;
INSERT INTO stock SELECT w, n, 100, 0, 0, REPEAT('a', 24), REPEAT('b', 24), REPEAT('c', 24), REPEAT('d', 24),
  REPEAT('stock data ', 8) FROM warehouse, digits;

DELIMITER //
CREATE PROCEDURE bulk(transactions INT, size INT)
BEGIN
  DECLARE i INT DEFAULT 0;
  WHILE i < transactions DO
    INSERT INTO orders (customer, kind, name, email, address, status, note, total, paid, created, changed)
      SELECT (i * size + n) % 9973, n % 7, CONCAT('Customer number ', i * size + n), CONCAT('customer', i * size + n, '@example.com'),
        CONCAT('Some Street ', n, ', fourth floor, 12345 Some Town, Some Country'), 'pending',
        CONCAT('a note of some length about order ', i * size + n, ', which says when to ring, whom to ask, and where to leave the parcel, please'),
        (i * size + n) * 1.37, n % 2, NOW(3), NOW(3)
      FROM digits WHERE n < size;
    SET i = i + 1;
  END WHILE;
END//

CREATE PROCEDURE mix(least INT)
BEGIN
  DECLARE made, ware, dist, cust, ord, line, stop_at INT DEFAULT 0;
  DECLARE choice DOUBLE;
  WHILE made < least DO
    SET choice = RAND(), ware = FLOOR(RAND() * 4), dist = FLOOR(RAND() * 10), cust = FLOOR(RAND() * 300);
    START TRANSACTION;
    IF choice < 0.49 THEN
      UPDATE district SET next_order = next_order + 1 WHERE w = ware AND d = dist;
      SELECT next_order INTO ord FROM district WHERE w = ware AND d = dist;
      SET line = 0, stop_at = 5 + FLOOR(RAND() * 11);
      INSERT INTO placed VALUES (ware, dist, ord, cust, NOW(6), NULL, stop_at);
      INSERT INTO open_order VALUES (ware, dist, ord);
      SET made = made + 3 + 2 * stop_at;
      WHILE line < stop_at DO
        SET line = line + 1, choice = RAND();
        UPDATE stock SET quantity = quantity - 1, ytd = ytd + 1, orders = orders + 1 WHERE w = ware AND item = FLOOR(choice * 10000);
        INSERT INTO order_line VALUES (ware, dist, ord, line, FLOOR(choice * 10000), NULL, 1, choice * 100, REPEAT('e', 24));
      END WHILE;
    ELSEIF choice < 0.95 THEN
      UPDATE warehouse SET ytd = ytd + 12.34 WHERE w = ware;
      UPDATE district SET ytd = ytd + 12.34 WHERE w = ware AND d = dist;
      UPDATE customer SET balance = balance - 12.34, payments = payments + 1 WHERE w = ware AND d = dist AND c = cust;
      INSERT INTO history (w, d, c, at, amount, data) VALUES (ware, dist, cust, NOW(6), 12.34, 'Warehouse 1    District 1');
      SET made = made + 4;
    ELSE
      SET ord = NULL;
      SELECT MIN(o) INTO ord FROM open_order WHERE w = ware AND d = dist;
      IF ord IS NOT NULL THEN
        DELETE FROM open_order WHERE w = ware AND d = dist AND o = ord;
        UPDATE placed SET carrier = 3 WHERE w = ware AND d = dist AND o = ord;
        UPDATE order_line SET delivered = NOW(6) WHERE w = ware AND d = dist AND o = ord;
        SET made = made + 3 + ROW_COUNT();
        UPDATE customer SET balance = balance + 1 WHERE w = ware AND d = dist AND c = cust;
      END IF;
    END IF;
    COMMIT;
  END WHILE;
  SELECT made;
END//
DELIMITER ;
"""


def bulk(mysql, events):
    mysql.run(f"USE bench; CALL bulk({events // 100}, 100)")
    return events // 100 * 100


def single(mysql, events):
    mysql.run(f"USE bench; CALL bulk({events}, 1)")
    return events


def mix(mysql, events):
    return int(mysql.run(f"USE bench; CALL mix({events})")[-1][0])


WORKLOADS = {
    "bulk": ("transactions of 100 rows", bulk),
    "single": ("transactions of one row", single),
    "mix": ("as TPC-C mixes them", mix),
}
