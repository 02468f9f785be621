"""Cells."""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Union
from uuid import UUID

from .host import bindings

UNAVAILABLE: Any = type("Unavailable", (), {"__repr__": lambda self: "UNAVAILABLE", "__bool__": lambda self: False})()
"""The source did not log the value (unchanged TOAST, partial row image); it is not NULL. Given to `set`: stays as it is."""


@dataclass(frozen=True)
class Typed:
    """A value of a kind that Python has no type for, or one whose kind shall be just that: `Typed("json", "[1]")`.

    JSON, ENUM and SET labels hold a str, arrays bytes. What Python's own types cannot hold comes as one too: dates (days since
    1970), datetimes and timestamps (microseconds) beyond the year 9999, and decimals that are no number.
    """

    kind: str
    """As columns name it: `json`, `enum`, `set`, `array`, `uint`, `float32`, `date`, `time`, `datetime`, `timestamp`, ..."""
    value: Any

    def __str__(self) -> str:
        return str(self.value)


Value = Union[None, bool, int, float, str, bytes, Decimal, date, datetime, timedelta, UUID, Typed, Any]
"""One cell. NULL is None, and `UNAVAILABLE` is what the source did not log. Naive datetimes have no zone; timestamps are in UTC."""

_CASES = {"bool": "Boolean", "enum": "Enumerated", "set": "Labels"}
_KINDS = {case.lower(): kind for kind, case in _CASES.items()}
_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def from_host(cell: Any, absent: Any = None) -> Value:
    """A cell as the host gives it; `absent` where the row has no such column."""
    case = type(cell).__name__[len("Value_") :].lower()
    if case == "absent":
        return absent
    if case == "null":
        return None
    if case == "unavailable":
        return UNAVAILABLE
    value = cell.value
    if case in ("boolean", "int", "uint", "float32", "float64", "text", "bytes"):
        return value
    try:
        if case == "decimal" and value not in ("NaN", "Infinity", "-Infinity"):
            return Decimal(value)
        if case == "uuid":
            return UUID(bytes=value)
        if case == "date":
            return _DAY + timedelta(days=value)
        if case == "time":
            return timedelta(microseconds=value)
        if case == "datetime":
            return _EPOCH + timedelta(microseconds=value)
        if case == "timestamp":
            return (_EPOCH + timedelta(microseconds=value)).replace(tzinfo=timezone.utc)
    except OverflowError:
        pass
    return Typed(_KINDS.get(case, case), value)


def _typed(value: Value, declared: str) -> Typed:
    """The kind and the plain value. Numbers and strings become what the column is declared as, where they can."""
    if isinstance(value, Typed):
        return value
    if isinstance(value, bool):
        return Typed("bool", value)
    if isinstance(value, int):
        if declared in ("float32", "float64"):
            return Typed(declared, float(value))
        if declared == "decimal":
            return Typed("decimal", str(value))
        return Typed("uint" if value > 0x7FFFFFFFFFFFFFFF or (declared == "uint" and value >= 0) else "int", value)
    if isinstance(value, float):
        return Typed("float32" if declared == "float32" else "float64", value)
    if isinstance(value, str):
        return Typed(declared if declared in ("decimal", "enum", "set") else "text", value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Typed("bytes", bytes(value))
    if isinstance(value, Decimal):
        return Typed("decimal", format(value, "f") if value.is_finite() else str(value))
    if isinstance(value, UUID):
        return Typed("uuid", value.bytes)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return Typed("datetime", (value - _EPOCH) // _MICROSECOND)
        return Typed("timestamp", (value.astimezone(timezone.utc).replace(tzinfo=None) - _EPOCH) // _MICROSECOND)
    if isinstance(value, date):
        return Typed("date", (value - _DAY).days)
    if isinstance(value, timedelta):
        return Typed("time", value // _MICROSECOND)
    if isinstance(value, (dict, list, tuple)):
        return Typed("json", json.dumps(value, ensure_ascii=False))
    raise TypeError(f"a cell cannot hold a {type(value).__name__}")


def to_host(value: Value, declared: str = "any") -> Any:
    """A cell as the host takes it; dicts and lists become JSON."""
    types = bindings.types
    if value is None:
        return types.Value_Null()
    if value is UNAVAILABLE:
        return types.Value_Unavailable()
    typed = _typed(value, declared)
    return getattr(types, "Value_" + _CASES.get(typed.kind, typed.kind.capitalize()))(typed.value)


def named_values(row: Any) -> Any:
    """A row by column names, as the host takes it."""
    return None if row is None else [(name, to_host(value)) for name, value in row.items()]
