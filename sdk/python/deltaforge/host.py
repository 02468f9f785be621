"""What a component is given by its host, put here when it is built; natively there is nothing."""

import logging
from types import SimpleNamespace
from typing import Any

bindings: Any = SimpleNamespace()
"""The modules of the generated bindings: `types`, `events`, `log`, and `metrics` and `clock` where they are granted."""


def connect(given: Any) -> None:
    """Puts the host in, and its log behind the module `logging`."""
    bindings.__dict__.update(given.__dict__)
    # A line gets its time from the host; a component that asks for the time of day itself traps.
    logging.__dict__["time"] = SimpleNamespace(time=lambda: 0.0, time_ns=lambda: 0, monotonic_ns=lambda: 0)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.__dict__["logAsyncioTasks"] = False
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(logging.DEBUG)


def _granted(grant: str) -> Any:
    if not hasattr(bindings, grant):
        raise RuntimeError(
            f'it needs the grant {grant}: name it in pyproject.toml under [tool.deltaforge] grants, and in the pipeline'
        )
    return getattr(bindings, grant)


class metrics:
    """Numbers for the host's metrics page, named `[a-z][a-z0-9_]*`. They need the grant `metrics`."""

    @staticmethod
    def add(counter: str, delta: int = 1) -> None:
        """Adds to a counter."""
        _granted("metrics").add(counter, delta)

    @staticmethod
    def set(gauge: str, value: float) -> None:
        """Sets a gauge."""
        _granted("metrics").set(gauge, value)

    @staticmethod
    def observe(histogram: str, value: float) -> None:
        """Adds a value to a histogram."""
        _granted("metrics").observe(histogram, value)


class clock:
    """The time. It needs the grant `clock`; the modules `time` and `datetime` do not know it."""

    @staticmethod
    def now() -> int:
        """Microseconds since 1970-01-01T00:00Z."""
        return _granted("clock").now()

    @staticmethod
    def monotonic() -> int:
        """Nanoseconds, only for differences."""
        return _granted("clock").monotonic()


class _Formatter(logging.Formatter):
    """Tracebacks without the lines of the sources, which are no part of a component."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that `logging` calls
        kind, error, traceback = ei
        places = []
        while traceback is not None:
            code = traceback.tb_frame.f_code
            places.append(f"  {code.co_filename}:{traceback.tb_lineno} in {code.co_name}")
            traceback = traceback.tb_next
        return "\n".join([f"{kind.__name__}: {error}", *reversed(places)])


class _Handler(logging.Handler):
    """Lines of `logging` in the host's log; `extra={"fields": {...}}` becomes the line's fields."""

    def __init__(self) -> None:
        super().__init__()
        self.formatter = _Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        log = bindings.log
        names = [(logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO"), (0, "DEBUG")]
        level = log.Level[next(name for least, name in names if record.levelno >= least)]
        if log.enabled(level):
            fields = getattr(record, "fields", {})
            log.log(level, self.format(record), [(str(name), str(value)) for name, value in fields.items()])
