"""Names of configurations by what sets them apart."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


_ABSENT = object()


def differences(documents: Sequence[Any]) -> list[dict[str, Any]]:
    """What sets each of several configurations apart from the others.

    A key that only some documents have, such as a setting of one type of loss, counts
    only if what it belongs to could not be told apart otherwise.

    Args:
        documents: mappings, lists and scalars as a YAML file holds them; all of them
            different.

    Returns:
        For each document, path of a key -> its value, in the order of the file. Paths
        are those of the keys, joined by points; an item of a list of sections is
        counted from 0 in brackets unless it is the only one.

    Example:
        >>> differences([{"Loss": {"Type": "cls"}}, {"Loss": {"Type": "p0"}}])
        [{'Loss.Type': 'cls'}, {'Loss.Type': 'p0'}]
    """
    found = _differences("", list(documents))
    return [
        {path: values[i] for path, values in found.items() if values[i] is not _ABSENT}
        for i in range(len(documents))
    ]


def names(differing: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each configuration, from what `differences` found.

    Example:
        >>> names([{"Loss.Type": "cls", "Train.Epochs": 2}])
        ['Loss.Type=cls, Train.Epochs=2']
    """
    for spell in (_brief, _complete):
        found = [
            ", ".join(f"{path}={spell(value)}" for path, value in one.items())
            for one in differing
        ]
        if len(set(found)) == len(found):
            break
    return found


def _differences(path: str, values: list[Any]) -> dict[str, list[Any]]:
    present = [value for value in values if value is not _ABSENT]
    if _n_distinct(present) < 2:
        return {}
    parts = _parts(path, values, present)
    found: dict[str, list[Any]] = {}
    for below, items in parts.items():
        found |= _differences(below, items)
    told_apart = {
        tuple(map(_complete, one)) for one in zip(*found.values(), strict=True)
    }
    return found if len(told_apart) == _n_distinct(values) else {path: values}


def _parts(path: str, values: list[Any], present: list[Any]) -> dict[str, list[Any]]:
    """The values one level below, by path; nothing where they cannot be aligned."""
    if all(isinstance(value, dict) for value in present):
        keys = dict.fromkeys(key for value in present for key in value)
        prefix = f"{path}." if path else ""
        return {
            f"{prefix}{key}": [
                _ABSENT if value is _ABSENT else value.get(key, _ABSENT)
                for value in values
            ]
            for key in keys
        }
    lengths = {len(value) if _is_sections(value) else 0 for value in present}
    if len(lengths) > 1:
        return {}
    (length,) = lengths
    return {
        path if length == 1 else f"{path}[{i}]": [
            _ABSENT if value is _ABSENT else value[i] for value in values
        ]
        for i in range(length)
    }


def _is_sections(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(item, dict) for item in value)
    )


def _n_distinct(values: list[Any]) -> int:
    return len({_complete(value) for value in values})


def _complete(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    return value if isinstance(value, str) else json.dumps(value)


def _brief(value: Any) -> str:
    """Sections by their type or name, everything else in full."""
    match value:
        case {"Type": "exponential" | "linear", "Start": start, "End": end}:
            return f"{start:g}→{end:g}"
        case {"Type": str(name)} | {"Name": str(name)}:
            return name
        case [*items] if _is_sections(items):
            return " + ".join(map(_brief, items))
        case None:
            return "none"
        case float():
            return f"{value:g}"
        case _:
            return _complete(value)
