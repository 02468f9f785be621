"""For writing DeltaForge plugins in Python.

A plugin is a class, named in `pyproject.toml` under `[tool.deltaforge]`. A processor has one of

* `process(self, batch)`: looks at up to 500 events at once, by whole columns: the fast style;
* `process_event(self, event)`: looks at one event after the other: the easy style.

A formatter has `format(self, batch)`, which answers one body for each row, or `format_event(self, event)`, which answers
one. The constructor is given the configuration: an instance of the class's `Config`, a dataclass, or a dict where it has none.
See `Plugin` for what else a class may say.

Getters answer the batch as it came; edits take effect together when the call has returned. The module `logging` writes into
the host's log. There are no files, no network and no true random numbers.
"""

from .batch import IMAGES, OPS, Batch, Column, Event, Flat, Image, NewEvent, Presence, Route
from .failure import Failure, Fatal, Reject, Retry
from .host import clock, metrics
from .plugin import Plugin
from .value import UNAVAILABLE, Typed, Value

__all__ = [
    "IMAGES",
    "OPS",
    "UNAVAILABLE",
    "Batch",
    "Column",
    "Event",
    "Failure",
    "Fatal",
    "Flat",
    "Image",
    "NewEvent",
    "Plugin",
    "Presence",
    "Reject",
    "Retry",
    "Route",
    "Typed",
    "Value",
    "clock",
    "metrics",
]
