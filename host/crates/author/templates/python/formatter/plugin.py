"""MY-DESCRIPTION."""

import json
from dataclasses import dataclass

from deltaforge import Batch, Fatal


@dataclass
class Config:
    """What may stand under `config:` of the sink's envelope, with the defaults."""

    member: str = "row"
    """The name of the member that holds the row."""


class MyPlugin:
    """The plugin."""

    Config = Config

    def __init__(self, config: Config) -> None:
        if config.member in ("", "table", "op"):
            raise Fatal("`member` must be a name of its own")
        self.member = config.member

    def format(self, batch: Batch) -> list[str]:
        names = [table.name for table in batch.tables()]
        rows = zip(batch.table_of(), batch.ops(), batch.json_rows("before"), batch.json_rows("after"))
        # A deleted row has an image of before only; a truncated table has none.
        return [self.body(names[table], op, after or before or "null") for table, op, before, after in rows]

    def body(self, table: str, op: str, row: str) -> str:
        """One body; the row is JSON, which goes in as it is."""
        member = json.dumps(self.member, ensure_ascii=False)
        return f'{{"table":{json.dumps(table, ensure_ascii=False)},"op":{json.dumps(op)},{member}:{row}}}'
