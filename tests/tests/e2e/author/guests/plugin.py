import logging
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from deltaforge import IMAGES, UNAVAILABLE, Event, Fatal, NewEvent, Reject, Route, metrics

log = logging.getLogger(__name__)


@dataclass
class TouchesConfig:
    mode: str = "all"


class Touches:
    Config = TouchesConfig
    tables = ["shop.*"]
    writes = ["*"]
    config_schema = {"type": "object"}

    def __init__(self, config: TouchesConfig) -> None:
        if config.mode == "none":
            raise Fatal("`mode` is none")
        self.seen = 0

    def process_event(self, event: Event) -> None:
        self.seen += 1
        metrics.add("seen")
        log.info("an event", extra={"fields": {"op": event.op, "id": event.after("id")}})
        does = event.get("after" if event.has("after") else "before", "does")
        if does == "values":
            # What was read is written again: nothing changes but what is meant to.
            for image in IMAGES:
                for name, value in (event.image(image) or {}).items():
                    event.set(image, name, value)
            event.set("after", "big", event.after("big") + 1)
            assert event.after("price") == Decimal("12.30")
            event.set("after", "price", "7.50")
            event.set("after", "ratio", 2)
            event.set("after", "doc", {"a": [1, None]})
            event.set("after", "fresh", f"{event.after('id')} of {event.table.name}")
            event.set("after", "kept", UNAVAILABLE)
            event.set("after", "day", event.after("day") + timedelta(days=1))
        elif does == "marks":
            event.tag("seen")
            event.header("x-id", str(event.after("id")))
            event.route(Route(topic="elsewhere", key="k"))
            event.set_op("r")
            event.unset("after", "price")
            event.emit(NewEvent("c", after={"id": 99, "does": "emitted"}, tags=["new"]))
        elif does == "image":
            event.set_image("before", {"id": 3, "note": "made"})
            event.set_image("after", None)
            event.set_op("d")
        elif does == "drop":
            event.drop()
        elif does == "reject":
            raise Reject(f"not {event.after('id')}")
        elif does == "mistake":
            nobody.home()
