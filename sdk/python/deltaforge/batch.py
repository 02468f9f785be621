"""The batch and the ways to touch it."""

import json
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Iterator, Literal, Mapping, NamedTuple, Optional, Sequence

from .host import bindings
from .value import Value, from_host, named_values, to_host

Image = Literal["before", "after"]
"""Which of an event's two row images: as it was, as it is now."""

IMAGES: tuple[Image, Image] = ("before", "after")
"""Both images, in the order of time."""

OPS = ("c", "u", "d", "r", "t", "ddl", "m")
"""What happened, by the numbers that the interface uses: created, updated, deleted, read by a snapshot, table truncated,
definition changed, message. Others may follow."""


class Presence:
    """What an entry of a column is. In a setter `VALUE` and `NULL` set the cell; the others leave it as it is."""

    NONE = 0
    """There is no such image, or no such column in the row's table."""
    VALUE = 1
    NULL = 2
    UNAVAILABLE = 3
    """The source did not log it."""
    OTHER = 4
    """A value of another type; ask for it by cell."""


class Column(NamedTuple):
    """A column with one entry a row: `present, values = batch.texts("after", "name")`."""

    present: bytes
    values: Sequence[Any]


class Flat(NamedTuple):
    """Texts or bytes in one piece: entry `i` is `data[ends[i - 1] if i else 0 : ends[i]]`."""

    present: bytes
    ends: Sequence[int]
    data: bytes


@dataclass
class Route:
    """Where an event goes; what is left out stays as it is."""

    topic: Optional[str] = None
    key: Optional[str] = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class NewEvent:
    """An event to add right after another; it takes over that one's origin, table, tags and routing."""

    op: str
    before: Optional[Mapping[str, Value]] = None
    after: Optional[Mapping[str, Value]] = None
    tags: Sequence[str] = ()
    route: Route = field(default_factory=Route)


def _image(image: Image) -> Any:
    return bindings.types.Image[image.upper()]


def _op(op: str) -> int:
    if op not in OPS:
        raise ValueError(f"{op} is no operation")
    return OPS.index(op)


def _route(route: Route) -> Any:
    return bindings.events.Route(route.topic, route.key, list(route.headers.items()))


def _mask(mask: Optional[Iterable[Any]]) -> bytes:
    if mask is None:
        return b""
    entries = mask if isinstance(mask, (bytes, list)) else list(mask)
    try:
        packed = bytes(entries)
    except (TypeError, ValueError):
        return bytes(map(bool, entries))
    # Flags are as they should be; other numbers are not.
    return packed if packed.count(0) + packed.count(1) == len(packed) else bytes(map(bool, entries))


class Batch:
    """A batch of events in commit order, lent for one call. Row numbers are those of the batch as it came, from 0."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._len: int = host.len()
        self._tables: Any = None
        self._columns: dict[str, int] = {}
        self._edits: list[Any] = []

    def __len__(self) -> int:
        return self._len

    def flush(self) -> None:
        """Tells the host the edits so far; of two edits of one cell the later wins. It happens by itself at the end of a call."""
        if self._edits:
            edits, self._edits = self._edits, []
            self._host.apply(edits)

    def _now(self) -> Any:
        """The host, for an edit of its own: what came before it goes first."""
        self.flush()
        return self._host

    def _edit(self, case: str, value: Any) -> None:
        self._edits.append(getattr(bindings.events, "Edit_" + case)(value))

    def source(self) -> Any:
        """What all its events have in common: `connector`, `pipeline`, `tenant`, `id`."""
        return self._host.source()

    def tables(self) -> Any:
        """The tables that rows refer to by index: `database`, `schema`, `name`, `fingerprint`, `columns`. Two versions of one
        table can stand side by side."""
        if self._tables is None:
            self._tables = self._host.tables()
        return self._tables

    def table_of(self) -> Sequence[int]:
        """Per row, an index into `tables()`."""
        return self._host.table_of()

    def ops(self) -> list[str]:
        """Per row, what happened."""
        return [OPS[op] for op in self._host.ops()]

    def times(self) -> Sequence[int]:
        """Per row, the source's time in microseconds since 1970-01-01T00:00Z."""
        return self._host.times()

    def origin(self, row: int) -> Any:
        """Where a row's event comes from: `event_id`, `ts_us`, `transaction`, `ordinal`, `position`."""
        return self._host.origin(row)

    def extras(self, row: int) -> Any:
        """`tags`, `headers`, `topic`, `key`, `ddl`, `message` and `synthetic` of a row's event."""
        return self._host.extras(row)

    def transaction_ends(self) -> list[bool]:
        """Per row, whether its event is the last of its transaction that goes on. For formatters."""
        return [bool(end) for end in self._host.transaction_ends()]

    # Whole columns: the fast way.

    def ints(self, image: Image, column: str) -> Column:
        """Integers, and what is one inside: booleans, dates (days), times, datetimes, timestamps (microseconds)."""
        found = self._host.ints(_image(image), column)
        return Column(found.present, found.values)

    def floats(self, image: Image, column: str) -> Column:
        """Floats."""
        found = self._host.floats(_image(image), column)
        return Column(found.present, found.values)

    def texts(self, image: Image, column: str) -> Column:
        """Texts, decimals, JSON, ENUM and SET labels."""
        found = self._host.texts(_image(image), column)
        return Column(found.present, found.values)

    def flats(self, image: Image, column: str) -> Flat:
        """As `texts`, and bytes too, without a str for each row: `data.translate(...)` works on all of them at once."""
        found = self._host.flats(_image(image), column)
        return Flat(found.present, found.ends, found.data)

    def set_ints(self, image: Image, column: str, present: bytes, values: Sequence[int]) -> None:
        """Cells that held a boolean, a date and so on stay one."""
        self._now().set_ints(_image(image), column, bindings.types.Ints(bytes(present), list(values)))

    def set_floats(self, image: Image, column: str, present: bytes, values: Sequence[float]) -> None:
        """Sets a column of floats."""
        self._now().set_floats(_image(image), column, bindings.types.Floats(bytes(present), list(values)))

    def set_texts(self, image: Image, column: str, present: bytes, values: Sequence[str]) -> None:
        """Cells that held a decimal, JSON or a label stay one."""
        self._now().set_texts(_image(image), column, bindings.types.Texts(bytes(present), list(values)))

    def set_flats(self, image: Image, column: str, present: bytes, ends: Sequence[int], data: bytes) -> None:
        """As `set_texts`, in one piece."""
        self._now().set_flats(_image(image), column, bindings.types.Flat(bytes(present), list(ends), bytes(data)))

    def map_texts(self, image: Image, column: str, change: Callable[[str], str]) -> None:
        """Rewrites every text of a column; cells that hold no text stay as they are."""
        present, values = self.texts(image, column)
        fresh = [change(text) if held == Presence.VALUE else text for held, text in zip(present, values)]
        changed = bytes(
            Presence.VALUE if held == Presence.VALUE and new != old else Presence.NONE
            for held, new, old in zip(present, fresh, values)
        )
        if any(changed):
            self.set_texts(image, column, changed, fresh)

    def fill(self, image: Image, column: str, value: Value) -> None:
        """Sets one value in every row that has the image and the column."""
        self._now().fill(_image(image), column, to_host(value))

    def keep(self, mask: Iterable[Any]) -> None:
        """Drops every row whose entry is false."""
        self._now().keep(_mask(mask))

    def remove_column(self, column: str) -> None:
        """Takes a column out of every row."""
        self._now().remove_column(column)

    def add_column(self, name: str, kind: str) -> int:
        """As `column`, making the column in every table that lacks it. Its cells are absent until they are set. `kind` is `text`,
        `int`, `json`, ..."""
        return self._now().add_column(name, kind)

    def tag_where(self, tag: str, mask: Optional[Iterable[Any]] = None) -> None:
        """Tags the rows of the mask; without one, all."""
        self._now().tag_where(_mask(mask), tag)

    def header_where(self, name: str, value: str, mask: Optional[Iterable[Any]] = None) -> None:
        """Sets a header on the rows of the mask; without one, on all."""
        self._now().header_where(_mask(mask), name, value)

    def route_where(self, route: Route, mask: Optional[Iterable[Any]] = None) -> None:
        """Routes the rows of the mask; without one, all."""
        self._now().route_where(_mask(mask), _route(route))

    # Rows and cells: the easy way.

    def events(self) -> Iterator["Event"]:
        """The events one after the other. Their rows cross from the host together."""
        tables = self.tables()
        names = [{column.name: at for at, column in enumerate(table.columns)} for table in tables]
        for row, cells in enumerate(self._host.rows([])):
            yield Event(self, row, cells, tables[cells.table], names[cells.table])

    def column(self, name: str) -> Optional[int]:
        """A number for the calls on single cells; None: no table of the batch has the column."""
        known = self._columns.get(name)
        if known is None:
            known = self._host.column(name)
            if known is not None:
                self._columns[name] = known
        return known

    def get(self, row: int, image: Image, column: int, absent: Any = None) -> Value:
        """One cell; `absent` where the row has no such image or column."""
        return from_host(self._host.get(row, _image(image), column), absent)

    def set(self, row: int, image: Image, column: int, value: Value, kind: str = "any") -> None:
        """Sets one cell of an image that exists. Numbers and strings become what `kind` says, the column's declared one."""
        self._edit("Set", bindings.events.Cell(row, _image(image), column, to_host(value, kind)))

    def unset(self, row: int, image: Image, column: int) -> None:
        """Takes one column out of one image."""
        self._edit("Unset", bindings.events.Place(row, _image(image), column))

    def set_image(self, row: int, image: Image, values: Optional[Mapping[str, Value]]) -> None:
        """Puts a whole image in place of the one there is, or of none; None takes it away. Columns that the table lacks are added."""
        self._now().set_image(row, _image(image), named_values(values))

    def set_op(self, row: int, op: str) -> None:
        """Changes what happened."""
        self._edit("SetOp", (row, _op(op)))

    def drop(self, row: int) -> None:
        """Drops an event."""
        self._edit("Drop", row)

    def reject(self, row: int, reason: str) -> None:
        """Takes an event out of the stream; the stage's `on_error` decides what becomes of it."""
        self._edit("Reject", (row, reason))

    def tag(self, row: int, tag: str) -> None:
        """Adds a tag."""
        self._edit("Tag", (row, tag))

    def header(self, row: int, name: str, value: str) -> None:
        """Sets a header."""
        self._edit("Header", bindings.events.Label(row, name, value))

    def route(self, row: int, route: Route) -> None:
        """Sends an event elsewhere."""
        self._edit("Route", (row, _route(route)))

    def emit(self, row: int, event: NewEvent) -> None:
        """Adds an event right after a row, which may have been dropped."""
        images = (named_values(event.before), named_values(event.after))
        self._edit("Emit", bindings.events.NewEvent(row, _op(event.op), *images, list(event.tags), _route(event.route)))

    # JSON.

    def json_rows(self, image: Image) -> list[Optional[str]]:
        """Per row, the image as JSON text; None where there is none."""
        return _unpacked(self._host.json_rows(_image(image)))

    def json_origins(self) -> list[Optional[str]]:
        """Per row, JSON text of an object with all that the native envelope says beside the images."""
        return _unpacked(self._host.json_origins())

    def to_json(self) -> list[dict[str, Any]]:
        """The batch as events in the native form."""
        return json.loads(self._host.to_json())

    def replace_json(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Takes over such a list: events are found again by `event_id`, what differs is set, missing ones are dropped, new ones added."""
        self._now().replace_json(json.dumps(events, ensure_ascii=False))


def _unpacked(flat: Any) -> list[Optional[str]]:
    texts, start = [], 0
    for present, end in zip(flat.present, flat.ends):
        texts.append(flat.data[start:end].decode() if present == Presence.VALUE else None)
        start = end
    return texts


class Event:
    """One event of `Batch.events()`."""

    def __init__(self, batch: Batch, row: int, cells: Any, table: Any, names: dict[str, int]) -> None:
        self.row = row
        """Its number in the batch."""
        self.op = OPS[cells.op]
        """What happened."""
        self.table = table
        """Its table: `database`, `schema`, `name`, `fingerprint`, `columns`."""
        self._batch, self._cells, self._names = batch, cells, names

    def has(self, image: Image) -> bool:
        """Whether it has this image."""
        return getattr(self._cells, image) is not None

    def get(self, image: Image, column: str, absent: Any = None) -> Value:
        """One cell; `absent` where there is no such image or column."""
        cells, at = getattr(self._cells, image), self._names.get(column)
        return absent if cells is None or at is None else from_host(cells[at], absent)

    def before(self, column: str, absent: Any = None) -> Value:
        """The cell as it was."""
        return self.get("before", column, absent)

    def after(self, column: str, absent: Any = None) -> Value:
        """The cell as it is now."""
        return self.get("after", column, absent)

    def image(self, image: Image) -> Optional[dict[str, Value]]:
        """A whole image by column names; None where there is none."""
        cells, nothing = getattr(self._cells, image), object()
        if cells is None:
            return None
        row = {name: from_host(cells[at], nothing) for name, at in self._names.items()}
        return {name: value for name, value in row.items() if value is not nothing}

    def set(self, image: Image, column: str, value: Value) -> None:
        """Sets one cell of an image that exists. Numbers and strings become what the column is declared as; a column that the table
        lacks is added."""
        at = self._names.get(column)
        if at is None:
            self._batch.set(self.row, image, self._batch.add_column(column, "any"), value)
        else:
            number = self._batch.column(column)
            assert number is not None, "its table has the column"
            self._batch.set(self.row, image, number, value, self.table.columns[at].kind)

    def unset(self, image: Image, column: str) -> None:
        """Takes one column out of one image."""
        number = self._batch.column(column) if column in self._names else None
        if number is not None:
            self._batch.unset(self.row, image, number)

    def set_image(self, image: Image, values: Optional[Mapping[str, Value]]) -> None:
        """See `Batch.set_image`."""
        self._batch.set_image(self.row, image, values)

    def set_op(self, op: str) -> None:
        """Changes what happened."""
        self._batch.set_op(self.row, op)

    def drop(self) -> None:
        """Drops the event."""
        self._batch.drop(self.row)

    def reject(self, reason: str) -> None:
        """Takes the event out of the stream; the stage's `on_error` decides what becomes of it."""
        self._batch.reject(self.row, reason)

    def tag(self, tag: str) -> None:
        """Adds a tag."""
        self._batch.tag(self.row, tag)

    def header(self, name: str, value: str) -> None:
        """Sets a header."""
        self._batch.header(self.row, name, value)

    def route(self, route: Route) -> None:
        """Sends the event elsewhere."""
        self._batch.route(self.row, route)

    def emit(self, event: NewEvent) -> None:
        """Adds an event right after this one."""
        self._batch.emit(self.row, event)

    def origin(self) -> Any:
        """Where the event comes from."""
        return self._batch.origin(self.row)

    def extras(self) -> Any:
        """Its tags, headers, routing and the like."""
        return self._batch.extras(self.row)
