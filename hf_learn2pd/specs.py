# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Strategies and schedules as JSON: `{"name": "threshold", "threshold": 0.5}`."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

__all__ = ["describe", "options_of", "parse"]


def options_of(cls: type) -> list[str]:
    """
    Names the options of a dataclass that JSON can hold.

    A field without a default is no option but an object of the call, such as a filter.
    """
    return [each.name for each in fields(cls) if not (each.default is MISSING and each.default_factory is MISSING)]


def parse(argument: str, spec: Any, classes: Mapping[str, type], expected: str) -> tuple[type, dict[str, Any]]:
    """
    Reads a name, or a name with options.

    Args:
        argument (`str`): What error messages call it.
        spec (`str` or `dict[str, Any]`): A key of `classes`, or a dict of it as `"name"` and options.
        classes (`Mapping[str, type]`): Dataclasses by name.
        expected (`str`): What may be given, for error messages.

    Returns:
        `tuple[type, dict[str, Any]]`: The class and its options, by now known to be fields of it.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    name = spec.get("name") if isinstance(spec, dict) else spec
    if not isinstance(name, str) or name not in classes:
        raise ValueError(f"`{argument}` must be {expected} (got {spec!r})")
    cls = classes[name]
    options = {key: value for key, value in spec.items() if key != "name"} if isinstance(spec, dict) else {}
    unknown = [key for key in options if key not in options_of(cls)]
    if unknown:
        known = ", ".join(options_of(cls)) or "none"
        raise ValueError(f"`{argument}` must hold options of {name!r} only: {known} (got {unknown[0]!r})")
    return cls, options


def describe(value: Any, classes: Mapping[str, type]) -> dict[str, Any] | None:
    """
    Turns an instance into what [`parse`] reads.

    Args:
        value (`Any`): An instance of one of `classes`, perhaps with another one among its options.
        classes (`Mapping[str, type]`): Dataclasses by name.

    Returns:
        `dict[str, Any]`, *optional*: None if the class is no value of `classes`.
    """
    name = next((name for name, cls in classes.items() if type(value) is cls), None)
    if name is None:
        return None
    spec: dict[str, Any] = {"name": name}
    for key in options_of(type(value)):
        option = getattr(value, key)
        if isinstance(option, tuple(classes.values())):
            option = describe(option, classes)
        spec[key] = list(option) if isinstance(option, tuple) else option
    return spec
