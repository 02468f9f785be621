"""What a plugin's class is, and how it gets its configuration."""

import dataclasses
import json
import types
import typing
from typing import Any, ClassVar, Protocol, Sequence, Union

from .failure import Fatal


class Plugin(Protocol):
    """What a plugin's class may have beside its constructor and its methods; each has a default."""

    Config: ClassVar[type]
    """A dataclass: the configuration. A key that it has no field for is refused, as is a value of another type. Without it, the
    constructor is given a dict with what the pipeline says."""
    tables: ClassVar[Sequence[str]]
    """Patterns of the tables that it wants to see (`shop.*`, `orders`); empty: all. Rows of others pass it by."""
    reads: ClassVar[Sequence[str]]
    """The columns that it reads, for people who decide whether to use it."""
    writes: ClassVar[Sequence[str]]
    """The columns that it may change or add, likewise."""
    config_schema: ClassVar[Union[str, dict[str, Any]]]
    """What its configuration may be, as JSON Schema: the host refuses another one before the plugin sees it."""
    content_type: ClassVar[str]
    """Formatters: what the bodies are; `application/json`."""


def make(plugin: Any, config: str) -> Any:
    """An instance of a plugin's class, of its configuration in JSON."""
    given = json.loads(config or "{}") or {}
    wanted = getattr(plugin, "Config", None)
    return plugin(given if wanted is None else decode(wanted, given))


def decode(wanted: Any, given: Any) -> Any:
    """A configuration as an instance of a dataclass."""
    if not isinstance(given, dict):
        raise Fatal("the configuration is not an object")
    fields = {field.name: field for field in dataclasses.fields(wanted)}
    hints = typing.get_type_hints(wanted)
    for name, value in given.items():
        if name not in fields:
            raise Fatal(f"unknown field `{name}`")
        if not _fits(hints[name], value):
            raise Fatal(f"`{name}` cannot be {json.dumps(value)}")
    for name, field in fields.items():
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if no_default and name not in given:
            raise Fatal(f"missing field `{name}`")
    return wanted(**given)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value of JSON is of a type, as far as a hint says that simply."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return any(_fits(one, value) for one in typing.get_args(hint))
    plain = typing.get_origin(hint) or hint
    if plain is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, plain) if plain in (str, bool, list, dict, type(None)) else True
