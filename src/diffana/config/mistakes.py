"""Mistakes in a configuration, named as the author of the file would name them."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from diffana.config.sections import Section


Location = tuple[str | int, ...]
Document = TypeVar("Document", bound=Section)


class Mistake(NamedTuple):
    """One thing to mend in a configuration file.

    Attributes:
        path: where it is, for example `Samples[1].Filter`; empty for the whole file.
        message: what is wrong and, where it is known, what to write instead.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """A configuration that cannot be used, with all of its mistakes.

    Attributes:
        mistakes: the mistakes, in the order of the file.
    """

    def __init__(self, mistakes: Iterable[tuple[str, str]]):
        self.mistakes = [Mistake(*map(_printable, one)) for one in mistakes]
        super().__init__("\n".join(map(str, self.mistakes)))

    def __reduce__(self):
        return type(self), (self.mistakes,)


def _printable(text: str) -> str:
    """The text on one line: names are quoted in it as they stand in the file."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text
    )


def spell(location: Location) -> str:
    """Path of a place in the document as it is written, such as `Samples[1].Filter`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def hint(name: str, known: Iterable[str]) -> str:
    """A question after the one of `known` that `name` is most likely meant to be."""
    spellings = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), spellings, n=1)
    return f"; did you mean {spellings[close[0]]}?" if close else ""


def in_order(
    found: Iterable[tuple[Location, str]], document: Any
) -> Iterator[tuple[str, str]]:
    """Paths and messages of what was `found`, in the order of the document."""

    def position(entry: tuple[Location, str]) -> list[int]:
        steps, node = [], document
        for part in entry[0]:
            if isinstance(part, int):
                steps.append(part)
            else:
                keys = list(node) if isinstance(node, dict) else []
                steps.append(keys.index(part) if part in keys else len(keys))
            node = _below(node, part)
        return steps

    for location, message in dict.fromkeys(sorted(found, key=position)):
        yield spell(location), message


def from_validation(
    error: ValidationError, document: Any, root: type[Section]
) -> Iterator[tuple[Location, str]]:
    """Where and what each mistake is that pydantic found in `document`."""
    for details in error.errors(include_url=False):
        location = _written(details, document)
        context = details.get("ctx", {})
        match details["type"]:
            case "missing":
                yield location, "is missing"
            case "extra_forbidden":
                known = _known_keys(root, details["loc"])
                guess = hint(str(location[-1]), known) or f"; known are {_list(known)}"
                yield location, f"unknown key{guess}"
            case "union_tag_not_found":
                yield (*location, "Type"), "is missing"
            case "union_tag_invalid":
                tag, tags = context["tag"], context["expected_tags"]
                known = [known.strip("'") for known in tags.split(", ")]
                guess = hint(str(tag), known)
                yield (*location, "Type"), f"{tag!r} is none of {_list(known)}{guess}"
            case "value_error":
                yield location, str(context["error"])
            case "string_pattern_mismatch":
                name = details["input"]
                what = "is empty or contains a slash or a control character"
                yield location, f"{name!r} {what}"
            case "too_short":
                least, n_items = context["min_length"], len(details["input"])
                # Items with mistakes of their own do not count for pydantic.
                if n_items < least:
                    yield location, f"needs {least} or more items, but has {n_items}"
            case "model_type" | "model_attributes_type" | "dict_type":
                yield location, "should hold keys and values" + _found(details)
            case _:
                yield location, _decapitalised(details["msg"]) + _found(details)


def complete(
    root: type[Section],
    document: Any,
    validate: Callable[[Any], Document],
    check: Callable[[dict[str, Any]], Iterable[tuple[Location, str]]],
) -> Document:
    """The valid section that a document holds.

    Args:
        root: what kind of section it is.
        document: as it was written.
        validate: makes the section.
        check: mistakes across its parts, which need not be valid one by one.

    Raises:
        ConfigError: with the mistakes that `validate` and `check` found.
    """
    found, section = [], None
    try:
        section = validate(document)
    except ValidationError as error:
        found += from_validation(error, document, root)
    if isinstance(document, dict):
        found += check(document)
    if section is None or found:
        raise ConfigError(in_order(found, document))
    return section


def _decapitalised(message: str) -> str:
    return message[:1].lower() + message[1:].replace("tuple", "list")


def _found(details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, dict | list):
        return ""
    shown = "nothing" if value is None else repr(value)
    return f", but is {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _below(node: Any, part: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _written(details: ErrorDetails, document: Any) -> Location:
    """Location without the steps that exist only in the types.

    These are the member chosen from a union, and the index 0 of a single item that
    stands where a list may.
    """
    location: list[str | int] = []
    node = document
    steps = details["loc"]
    for depth, part in enumerate(steps):
        if isinstance(part, int):
            written = isinstance(node, list)
        else:
            missing = details["type"] == "missing" and depth == len(steps) - 1
            written = missing or (isinstance(node, dict) and part in node)
        if written:
            location.append(part)
            node = _below(node, part)
    return tuple(location)


def _known_keys(root: type[Section], location: Location) -> list[str]:
    """Keys of the section that the last step of a location was looked up in."""
    sections: tuple[type[Section], ...] = (root,)
    for part in location[:-1]:
        fields = [
            field
            for section in sections
            for field in section.model_fields.values()
            if field.alias == part
        ]
        if fields:
            sections = tuple(s for field in fields for s in _sections(field.annotation))
        elif isinstance(part, str):
            chosen = tuple(s for s in sections if part in (s.__name__, _tag(s)))
            sections = chosen or sections
    aliases = (f.alias for s in sections for f in s.model_fields.values())
    return list(dict.fromkeys(alias for alias in aliases if alias))


def _sections(annotation: Any) -> tuple[type[Section], ...]:
    """The sections that may stand where `annotation` does."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    arguments = get_args(annotation)
    return tuple(section for each in arguments for section in _sections(each))


def _tag(section: type[Section]) -> str | None:
    field = section.model_fields.get("type")
    if field is None or get_origin(field.annotation) is not Literal:
        return None
    return get_args(field.annotation)[0]
