CREATE TABLE orders (id BIGINT PRIMARY KEY, customer INT UNSIGNED NOT NULL, status VARCHAR(20) NOT NULL, email VARCHAR(100), sku VARCHAR(40),
  amount DECIMAL(12,2), note TEXT, created DATETIME(3)) CHARACTER SET utf8mb4;
INSERT INTO orders SELECT 1000000 + n, 40000 + n * 7, ELT(1 + n % 3, 'new', 'paid', 'shipped'), CONCAT('customer', n, '@example.com'), CONCAT('SKU-', LPAD(n * 31, 10, '0')),
  n * 13.37, CONCAT('please leave it at the door of number ', n, ', and ring twice; the dog does not bite, it only looks so: thank you très much'), '2024-01-15 10:30:00.123' + INTERVAL n SECOND
  FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 80) SELECT n FROM c) AS numbers;
UPDATE orders SET status = 'done' WHERE id <= 1000020;
