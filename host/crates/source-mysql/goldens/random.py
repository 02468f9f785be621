#!/usr/bin/env python3
"""random.py SEED mysql|mariadb: statements that fill tables with random rows of every type, and change them.

For the test rows_of_random_statements_are_the_servers:

    mkdir -p /tmp/random/sql
    ./random.py 1 mysql >/tmp/random/sql/seed1.mysql.sql
    ./capture.sh mysql 127.0.0.1 3306 /tmp/random/sql /tmp/random
    CAPTURED=/tmp/random cargo test -p deltaforge-source-mysql -- --ignored random
"""
import datetime
import json
import math
import random
import struct
import sys
import uuid

SEED, SERVER = int(sys.argv[1]), sys.argv[2]
ROWS = 400
R = random.Random(SEED)
CHARACTERS = "abcXYZ 019'\"\\\n\téßñ☃日本語😀𠀀Ωж"


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def signed(bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    return lambda: str(R.choice([R.randrange(low, high), R.randrange(-100, 100), low, high - 1]))


def unsigned(bits):
    return lambda: str(R.choice([R.randrange(2**bits), R.randrange(2 ** min(bits, 6)), 2**bits - 1]))


def digits(count):
    return "".join(R.choice("0123456789") for _ in range(count))


def decimal(precision, scale, negative=True):
    def value():
        whole = digits(R.randrange(precision - scale + 1)) or "0"
        sign = "-" if negative and R.random() < 0.5 else ""
        return sign + whole + ("." + digits(scale) if scale else "")

    return value


def double():
    while True:
        value = R.uniform(-1e6, 1e6)
        if R.random() < 0.5:
            value = struct.unpack("<d", struct.pack("<Q", R.getrandbits(64)))[0]
        if math.isfinite(value) and (value == 0 or abs(value) > 2.3e-308):
            text = repr(value)
            return text if "e" in text else text + "e0"


def single():
    if R.random() < 0.5:
        return repr(R.uniform(-1e5, 1e5)) + "e0"
    return "%.7fe%d" % (R.uniform(-9, 9), R.randrange(-36, 37))


def fraction(count):
    return "." + digits(count) if count else ""


def date():
    if R.random() < 0.1:
        return "'0000-00-00'"
    year = R.choice([R.randrange(1, 10000), R.randrange(1900, 2100)])
    return "'%04d-%02d-%02d'" % (year, R.randrange(13), R.randrange(32))


def datetime_(count):
    def value():
        day = "%04d-%02d-%02d" % (R.randrange(1, 9999), R.randrange(13), R.randrange(32))
        return "'%s %02d:%02d:%02d%s'" % (day, R.randrange(24), R.randrange(60), R.randrange(60), fraction(count))

    return value


def timestamp(count):
    def value():
        time = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=R.randrange(1, 2**31 - 1))
        return "'" + time.strftime("%Y-%m-%d %H:%M:%S") + fraction(count) + "'"

    return value


def time(count):
    def value():
        clock = "%d:%02d:%02d" % (R.choice([R.randrange(838), 0]), R.randrange(60), R.randrange(60))
        return "'" + R.choice(["", "-"]) + clock + fraction(count) + "'"

    return value


def length(most):
    return R.choice([R.randrange(most + 1), R.randrange(min(most, 8) + 1)])


def text(most, characters=CHARACTERS):
    return lambda: quoted("".join(R.choice(characters) for _ in range(length(most))))


def blob(most):
    def value():
        data = bytes(R.choice([0, 0xFF, R.randrange(256)]) for _ in range(length(most)))
        return "x'" + data.hex() + "'" if data else "''"

    return value


def labels(count):
    return ",".join(quoted("l%d%s" % (at, R.choice(["", "é", "'"]))) for at in range(count))


def document(depth=0):
    kind = R.randrange(12 if depth < 5 else 8)
    if kind == 0:
        return R.choice(["null", "true", "false"])
    if kind == 1:
        return str(R.randrange(-(2**63), 2**64))
    if kind in (2, 3):
        return str(R.choice([R.randrange(-70000, 70000), R.randrange(-(2**33), 2**33)]))
    if kind == 4:
        small = R.uniform(-1, 1) * 10 ** R.randrange(-30, 30)
        return repr(R.choice([R.uniform(-1e3, 1e3), small, float(R.randrange(-(10**17), 10**17))]))
    if kind < 8:
        characters = "abc\"\\\n\t\b\f/\u0001éß☃😀"
        string = "".join(R.choice(characters) for _ in range(R.choice([R.randrange(12), R.randrange(200)])))
        return json.dumps(string, ensure_ascii=R.random() < 0.5)
    if kind < 10:
        return "[" + ",".join(document(depth + 1) for _ in range(R.randrange(6))) + "]"
    names = ["".join(R.choice("abcdeé") for _ in range(R.randrange(6))) for _ in range(R.randrange(6))]
    return "{" + ",".join(json.dumps(name) + ":" + document(depth + 1) for name in names) + "}"


def shape(kind):
    def point():
        return "%r %r" % (R.uniform(-80, 80), R.uniform(-80, 80))

    def line():
        return "(%s)" % ",".join(point() for _ in range(R.randrange(2, 5)))

    def polygon():
        x, y = R.uniform(-40, 40), R.uniform(-40, 40)
        corners = [(x, y), (x + 5, y), (x + 5, y + 5), (x, y + 5), (x, y)]
        return "((%s))" % ",".join("%r %r" % corner for corner in corners)

    one = {"POINT": lambda: "(%s)" % point(), "LINESTRING": line, "POLYGON": polygon}
    if kind in one:
        return kind + one[kind]()
    if kind == "GEOMETRYCOLLECTION":
        return "%s(%s)" % (kind, ",".join(shape(R.choice(list(one))) for _ in range(R.randrange(1, 4))))
    return "%s(%s)" % (kind, ",".join(one[kind[5:]]() for _ in range(R.randrange(1, 4))))


SHAPES = ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION")


def geometry(*kinds):
    return lambda: "ST_GeomFromText('%s', %d)" % (shape(R.choice(kinds)), R.choice([0, 4326]))


def columns():
    for bits, word in ((8, "TINYINT"), (16, "SMALLINT"), (24, "MEDIUMINT"), (32, "INT"), (64, "BIGINT")):
        yield word, signed(bits)
        yield word + " UNSIGNED", unsigned(bits)
    yield "YEAR", lambda: str(R.choice([0, 1901, 2155, R.randrange(1901, 2156)]))
    for precision, scale in ((65, 30), (30, 9), (17, 17), (38, 0), (19, 10)):
        yield "DECIMAL(%d,%d)" % (precision, scale), decimal(precision, scale)
    yield "DECIMAL(10,2) UNSIGNED", decimal(10, 2, negative=False)
    yield "FLOAT", single
    yield "DOUBLE", double
    yield "DATE", date
    for count in range(7):
        yield "TIME(%d)" % count, time(count)
        yield "DATETIME(%d)" % count, datetime_(count)
        yield "TIMESTAMP(%d) NULL" % count, timestamp(count)
    for bits in (1, 7, 8, 9, 17, 33, 56, 63, 64):
        yield "BIT(%d)" % bits, unsigned(bits)
    yield "CHAR(20)", text(20)
    yield "CHAR(255)", text(255)
    yield "VARCHAR(50)", text(50)
    yield "VARCHAR(400)", text(400)
    yield "TEXT", text(500)
    yield "VARCHAR(30) CHARACTER SET ucs2", text(30, "abé☃日Ωж ")
    yield "CHAR(30) CHARACTER SET utf16le", text(30)
    yield "VARCHAR(30) CHARACTER SET utf32", text(30)
    yield "VARCHAR(100) CHARACTER SET latin1", text(100, "abcéßñ€ÿ½ ")
    yield "VARCHAR(50) CHARACTER SET sjis", text(50, "abc日本語ｱあ亜")
    yield "TEXT CHARACTER SET gbk", text(50, "abc中文字啊")
    yield "MEDIUMTEXT CHARACTER SET cp1251", text(50, "abcПривет")
    yield "BINARY(12)", blob(12)
    yield "VARBINARY(60)", blob(60)
    yield "VARBINARY(600)", blob(600)
    yield "BLOB", blob(300)
    yield "TINYBLOB", blob(255)
    for count in (5, 300):
        yield "ENUM(%s)" % labels(count), lambda count=count: str(R.choice([0, 1, count, R.randrange(1, count + 1)]))
    for count in (7, 64):
        yield "SET(%s)" % labels(count), unsigned(count)
    yield "SET(%s) CHARACTER SET latin1" % labels(33), unsigned(33)
    yield "JSON", lambda: quoted(document())
    yield "GEOMETRY", geometry(*SHAPES)
    for kind in SHAPES:
        yield kind, geometry(kind)
    if SERVER == "mysql":
        yield "VECTOR(4)", lambda: "STRING_TO_VECTOR('%s')" % [R.uniform(-10, 10) for _ in range(4)]
    else:
        yield "UUID", lambda: quoted(str(uuid.UUID(int=R.getrandbits(128))))
        yield "INET4", lambda: quoted(".".join(str(R.randrange(256)) for _ in range(4)))
        yield "INET6", lambda: quoted(":".join("%x" % R.choice([0, 0, R.randrange(65536)]) for _ in range(8)))
        yield "VARCHAR(300) COMPRESSED", text(300)
        yield "BLOB COMPRESSED", blob(600)


def value(make):
    return "NULL" if R.random() < 0.1 else make()


print("SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00';")
every = list(columns())
R.shuffle(every)
# Three tables: rows have a greatest size.
for number in range(3):
    own = every[number::3]
    names = ["c%d" % at for at in range(len(own))]
    definition = ", ".join("%s %s" % (name, kind) for name, (kind, _) in zip(names, own))
    print("CREATE TABLE r%d (id INT PRIMARY KEY, %s) CHARACTER SET utf8mb4;" % (number, definition))
    for first in range(0, ROWS, 20):
        rows = ("(%d,%s)" % (row, ",".join(value(make) for _, make in own)) for row in range(first, first + 20))
        print("INSERT IGNORE INTO r%d VALUES %s;" % (number, ",".join(rows)))
    for image in ("FULL", "MINIMAL", "NOBLOB"):
        print("SET binlog_row_image = %s;" % image)
        for _ in range(25):
            at = R.randrange(len(own))
            change = "%s = %s" % (names[at], value(own[at][1]))
            print("UPDATE IGNORE r%d SET %s WHERE id %% 17 = %d;" % (number, change, R.randrange(17)))
        print("DELETE FROM r%d WHERE id %% 50 = %d;" % (number, R.randrange(50)))
    print("SET binlog_row_image = FULL;")
