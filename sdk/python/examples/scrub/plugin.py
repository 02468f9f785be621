"""Shows the ways to touch a batch at one piece of work: it covers texts that nobody shall read, tags rows whose number is
large, and counts a version up. The batch it leaves is the same whichever way it takes.

The plugin of a project that `deltaforge plugin new scrub --lang python` makes; the same stands in `sdk/rust/samples/scrub`.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from deltaforge import IMAGES, Batch, Fatal, Presence

COVER = "***"
"""What stands in the place of a text."""
VALUE = Presence.VALUE
TEXTS = bytes(held if held == VALUE else Presence.NONE for held in range(256))
"""What is no text stays as it is."""
LENGTHS = bytes(len(COVER) if held == VALUE else 0 for held in range(256))
"""How long what stands in the place of an entry is."""


@dataclass
class ScrubConfig:
    redact: str = "email"
    """The column of texts that are replaced, in both images."""
    amount: str = "amount"
    """The column whose value decides about the tag `large`."""
    over: int = 1000
    """The value that is not large yet."""
    version: str = "version"
    """The column that is counted up in the image after the change."""
    by: str = "columns"
    """The way: `columns`, `cells` or `events`."""


class Scrub:
    Config = ScrubConfig

    def __init__(self, config: ScrubConfig) -> None:
        self.config = config
        ways = {"columns": self.columns, "cells": self.cells, "events": self.events}
        if config.by not in ways:
            raise Fatal(f"`by` is columns, cells or events, not {config.by}")
        self.way = ways[config.by]

    def process(self, batch: Batch) -> None:
        self.way(batch)

    def columns(self, batch: Batch) -> None:
        config = self.config
        for image in IMAGES:
            held = batch.flats(image, config.redact)
            # On all entries at once, without a line of Python for each.
            present, texts = held.present.translate(TEXTS), held.present.count(VALUE)
            if texts:
                ends = list(accumulate(present.translate(LENGTHS)))
                batch.set_flats(image, config.redact, present, ends, COVER.encode() * texts)
        over = config.over
        present, amounts = batch.ints("after", config.amount)
        batch.tag_where("large", [held == VALUE and amount > over for held, amount in zip(present, amounts)])
        present, versions = batch.ints("after", config.version)
        batch.set_ints("after", config.version, present, [version + 1 for version in versions])

    def cells(self, batch: Batch) -> None:
        config = self.config
        redact, amount, version = map(batch.column, (config.redact, config.amount, config.version))
        kinds = [{one.name: one.kind for one in table.columns}.get(config.version, "any") for table in batch.tables()]
        tables = batch.table_of()
        for row in range(len(batch)):
            for image in IMAGES if redact is not None else ():
                if isinstance(batch.get(row, image, redact), str):
                    batch.set(row, image, redact, COVER)
            if amount is not None and is_over(batch.get(row, "after", amount), config.over):
                batch.tag(row, "large")
            held = None if version is None else batch.get(row, "after", version)
            if is_number(held):
                batch.set(row, "after", version, held + 1, kinds[tables[row]])

    def events(self, batch: Batch) -> None:
        config = self.config
        for event in batch.events():
            for image in IMAGES:
                if isinstance(event.get(image, config.redact), str):
                    event.set(image, config.redact, COVER)
            if is_over(event.after(config.amount), config.over):
                event.tag("large")
            held = event.after(config.version)
            if is_number(held):
                event.set("after", config.version, held + 1)


def is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_over(value: Any, bound: int) -> bool:
    return is_number(value) and value > bound
