"""YAML in and out: safe, free of duplicate keys, numbers as YAML 1.2 spells them."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from diffana.config.mistakes import ConfigError, Location, spell


LARGEST = 2_000_000


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1 reads 1e-3 as text because it has no point.
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def read(text: str | bytes) -> Any:
    """The document written in `text`.

    Raises:
        ConfigError: if it is not YAML, holds more than `LARGEST` bytes or characters,
            which take minutes to parse, or a key is given twice in one place.
    """
    if len(text) > LARGEST:
        raise ConfigError([("", f"is larger than {LARGEST / 1e6:g} MB")])
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        duplicates = list(_duplicates(node, (), set()))
        if duplicates:
            raise ConfigError(duplicates)
        return loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark else ""
        problem = error.problem or error.context
        raise ConfigError([("", f"not a YAML document: {problem}{where}")]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError([("", f"not a YAML document: {problem}")]) from error
    except (KeyError, IndexError, AttributeError) as error:
        # What PyYAML lets through of a value that does not fit its tag: !!bool maybe.
        problem = "a value does not fit the tag in front of it"
        raise ConfigError([("", f"not a YAML document: {problem}")]) from error


def write(document: Any) -> str:
    """YAML text that `read` returns the same document from."""
    return yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=88,
    )


def _duplicates(
    node: yaml.Node | None, location: Location, visited: set[int]
) -> Iterator[tuple[str, str]]:
    # An alias may contain itself.
    if node is None or id(node) in visited:
        return
    visited.add(id(node))
    match node:
        case yaml.MappingNode():
            lines: dict[str, int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                below = (*location, key.value)
                if key.value in lines:
                    first = lines[key.value]
                    yield spell(below), f"given twice, in lines {first} and {line}"
                lines.setdefault(key.value, line)
                yield from _duplicates(value, below, visited)
        case yaml.SequenceNode():
            for index, item in enumerate(node.value):
                yield from _duplicates(item, (*location, index), visited)
