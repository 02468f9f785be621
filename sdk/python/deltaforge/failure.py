"""How a call says that it could not do its work."""


class Failure(Exception):
    """The call could not do its work; nothing of it is applied."""

    kind = "fatal"


class Retry(Failure):
    """Something is not available: the same events come again later."""

    kind = "retry"


class Fatal(Failure):
    """Stops the pipeline, which shows the message; in a constructor: the configuration does not fit."""


class Reject(Exception):
    """Takes one event out of the stream: raised by `process_event` and `format_event`, or in the place of a body in what
    `format` answers. The stage's `on_error` decides what becomes of the event."""
