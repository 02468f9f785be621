"""What the component exports, made of a plugin's class. `deltaforge plugin build` calls this; plugins do not."""

import json
import logging
from typing import Any, Callable

from . import host
from .batch import Batch
from .failure import Failure, Reject
from .plugin import make

_log = logging.getLogger("plugin")


class _Exports:
    """The plugin's class, its instance, and what the bindings need to answer."""

    def __init__(self, plugin: Any, project: dict[str, str], given: Any, methods: tuple[str, str]) -> None:
        if not any(hasattr(plugin, method) for method in methods):
            raise TypeError(f"{plugin.__name__} has neither a method {methods[0]} nor {methods[1]}")
        host.connect(given)
        self.plugin, self.project, self.given = plugin, project, given
        self.instance: Any = None

    def guarded(self, call: Callable[[], Any]) -> Any:
        """Runs a call. A `Failure` is answered as one; anything else is a mistake of the plugin's author: it goes into the log with its
        stack, and traps."""
        try:
            return call()
        except Failure as failure:
            raise self.given.Err(self.given.types.Failure(failure.kind, str(failure))) from None
        except Exception:
            _log.exception("the call fails")
            raise

    def lifecycle(self) -> type:
        """The exported interface `lifecycle`."""
        exports = self

        class Lifecycle:
            def describe(self) -> Any:
                plugin, project = exports.plugin, exports.project
                schema = getattr(plugin, "config_schema", "")
                return exports.given.lifecycle.Manifest(
                    project["name"],
                    project["version"],
                    project["description"],
                    list(getattr(plugin, "tables", ())),
                    list(getattr(plugin, "reads", ())),
                    list(getattr(plugin, "writes", ())),
                    schema if isinstance(schema, str) else json.dumps(schema),
                )

            def open(self, config: str) -> None:
                exports.instance = exports.guarded(lambda: make(exports.plugin, config))

        return Lifecycle


def processor(plugin: Any, project: dict[str, str], given: Any) -> tuple[type, type]:
    """`Lifecycle` and `Processing` of a processor."""
    exports = _Exports(plugin, project, given, ("process", "process_event"))

    def work(batch: Batch) -> None:
        if hasattr(exports.instance, "process"):
            exports.instance.process(batch)
        else:
            for event in batch.events():
                try:
                    exports.instance.process_event(event)
                except Reject as rejection:
                    event.reject(str(rejection))
        batch.flush()

    class Processing:
        def process(self, lent: Any) -> None:
            exports.guarded(lambda: work(Batch(lent)))

    return exports.lifecycle(), Processing


def formatter(plugin: Any, project: dict[str, str], given: Any) -> tuple[type, type]:
    """`Lifecycle` and `Formatting` of a formatter."""
    exports = _Exports(plugin, project, given, ("format", "format_event"))

    def work(batch: Batch) -> Any:
        if hasattr(exports.instance, "format"):
            bodies = list(exports.instance.format(batch))
        else:
            bodies = []
            for event in batch.events():
                try:
                    bodies.append(exports.instance.format_event(event))
                except Reject as rejection:
                    bodies.append(rejection)
        if len(bodies) != len(batch):
            raise ValueError(f"format answered {len(bodies)} bodies for {len(batch)} rows")
        return _messages(given, bodies)

    class Formatting:
        def content_type(self) -> str:
            return getattr(exports.plugin, "content_type", "application/json")

        def format(self, lent: Any) -> Any:
            return exports.guarded(lambda: work(Batch(lent)))

    return exports.lifecycle(), Formatting


def _messages(given: Any, bodies: list[Any]) -> Any:
    """Bodies in one piece: str and bytes, None for a message without a body, a `Reject` for a row that cannot be written."""
    present, ends, data, rejects = bytearray(), [], bytearray(), []
    for row, body in enumerate(bodies):
        if isinstance(body, Reject):
            present.append(0)
            rejects.append((row, str(body)))
        elif body is None:
            present.append(2)
        elif isinstance(body, (str, bytes)):
            present.append(1)
            data += body.encode() if isinstance(body, str) else body
        else:
            raise TypeError(f"the body of row {row} is a {type(body).__name__}: a str, bytes, None or a Reject is wanted")
        ends.append(len(data))
    return given.formatting.Messages(given.types.Flat(bytes(present), ends, bytes(data)), rejects)
