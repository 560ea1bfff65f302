"""The configuration of a sweep, a YAML document of its own: seeds x settings."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    Tag,
    model_validator,
)

from diffana.config import document, mistakes, reading
from diffana.config.document import Config
from diffana.config.mistakes import ConfigError, Location, Mistake
from diffana.config.sections import Many, Section


_SEED = "General.Seed"
_LONGEST_VALUE = 40
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


def _folder_name(name: str) -> str:
    if not name or name.startswith(".") or _UNSAFE.search(name):
        raise ValueError(
            f"{name!r} cannot name a folder: take letters, digits and _ = , + - . "
            "without a dot in front"
        )
    return name


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for i, value in enumerate(values):
        # 1 and True are equal in Python.
        if any(value == one and type(value) is type(one) for one in values[:i]):
            raise ValueError(f"{value!r} is given twice")
    return values


def _count_or_list(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "count"


Place = Annotated[str, StringConstraints(min_length=1)]
Seeds = Annotated[
    Annotated[PositiveInt, Tag("count")]
    | Annotated[Many[NonNegativeInt], AfterValidator(_distinct), Tag("list")],
    Discriminator(_count_or_list),
]


class SettingSection(Section):
    """Some values of the configuration under a common name."""

    name: Annotated[str, AfterValidator(_folder_name)] = Field(
        description="Name of the setting, a part of the names of its run folders."
    )
    change: dict[Place, Any] = Field(
        default={},
        description="Path of a value in the configuration -> what stands there "
        "instead. A path has dots between its keys; an entry of a list is named by its "
        "Name or its position from 0.",
    )


class SweepConfig(Section):
    """A configuration, and how often it is trained with which changes."""

    base: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="Configuration file that is changed, relative to this file."
    )
    seeds: Seeds = Field(
        description="Values of General.Seed, or how many: N stands for 0 to N - 1."
    )
    settings: Many[SettingSection] | None = Field(
        default=None, description="Changes by name; the base alone without them."
    )
    grid: (
        Annotated[
            dict[Place, Annotated[Many[Any], AfterValidator(_distinct)]],
            Field(min_length=1),
        ]
        | None
    ) = Field(
        default=None,
        description="Path of a value in the configuration -> values. Each setting is "
        "trained with every combination of them.",
    )

    @property
    def seed_values(self) -> tuple[int, ...]:
        """The seeds, one by one."""
        seeds = self.seeds
        return tuple(range(seeds)) if isinstance(seeds, int) else seeds

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(cls, content: Any, validate: Callable[[Any], Self]) -> Self:
        return mistakes.complete(cls, content, validate, _check)


class PlannedRun(NamedTuple):
    """One training of a sweep.

    Attributes:
        name: of its run folder.
        setting: name of the setting, which all seeds of it share.
        config: what is trained.
    """

    name: str
    setting: str
    config: Config


class Sweep(NamedTuple):
    """A sweep whose every configuration is valid.

    Attributes:
        config: the document, seeds spelled out.
        base: the configuration that is changed.
        runs: all trainings, setting by setting.
    """

    config: SweepConfig
    base: Config
    runs: tuple[PlannedRun, ...]


def load_sweep(path: str | Path) -> Sweep:
    """The sweep in a YAML file, with the configuration that it changes.

    Raises:
        ConfigError: with every mistake there is in the document, in the base, and in
            what the changes make of it.
    """
    written = reading.read(document.content(path))
    found: list[Mistake] = []
    config = base = None
    try:
        config = SweepConfig.model_validate(written)
    except ConfigError as error:
        found += error.mistakes
    named = written.get("Base") if isinstance(written, dict) else None
    if isinstance(named, str) and named:
        file = Path(path).parent / named
        try:
            base = document.load(file)
        except ConfigError as error:
            found += (Mistake("Base", f"{file}: {one}") for one in error.mistakes)
    if found or config is None or base is None:
        raise ConfigError(found)
    return planned(config, base)


def is_sweep(path: str | Path) -> bool:
    """Whether a file, whatever mistakes it has, describes a sweep.

    Raises:
        ConfigError: if the file cannot be read or is no YAML.
    """
    written = reading.read(document.content(path))
    return isinstance(written, dict) and "Base" in written


def planned(config: SweepConfig, base: Config) -> Sweep:
    """All trainings of a sweep.

    Args:
        config: the document.
        base: the configuration that it changes.

    Raises:
        ConfigError: with every mistake in what the changes make of the base.
    """
    spelled_out = config.model_copy(update={"seeds": config.seed_values})
    points = _points(spelled_out)
    valid: dict[str, Config] = {}
    wrong: dict[Mistake, list[_Point]] = {}
    for point in points:
        try:
            valid[point.name] = document.changed(base, point.change)
        except ConfigError as error:
            for mistake in error.mistakes:
                wrong.setdefault(mistake, []).append(point)
    found = [*_blamed(wrong, points), *_repeated(valid, points)]
    if found:
        written = config.model_dump(mode="json", by_alias=True)
        raise ConfigError(mistakes.in_order(found, written))
    return Sweep(
        spelled_out,
        base,
        tuple(
            PlannedRun(f"{name}_seed{seed}", name, _seeded(one, seed))
            for name, one in valid.items()
            for seed in spelled_out.seed_values
        ),
    )


class _Point(NamedTuple):
    """One setting with one combination of the grid, and where both are written."""

    name: str
    change: dict[str, Any]
    places: tuple[Location, ...]


def _points(config: SweepConfig) -> list[_Point]:
    settings = [
        _Point(setting.name, setting.change, (("Settings", i),))
        for i, setting in enumerate(config.settings or ())
    ]
    grid = config.grid or {}
    short = _short_names(list(grid))
    axes = [
        [
            _Point(f"{short[path]}={text}", {path: value}, (("Grid", path, i),))
            for i, (value, text) in enumerate(
                zip(values, _spelled(values), strict=True)
            )
        ]
        for path, values in grid.items()
    ]
    return [
        _Point(
            ",".join(part.name for part in parts) or "base",
            {path: value for part in parts for path, value in part.change.items()},
            tuple(place for part in parts for place in part.places),
        )
        for parts in itertools.product(*([settings] if settings else []), *axes)
    ]


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last keys of each path, as many as it takes to tell the paths apart."""
    found = {}
    for path in paths:
        keys = path.split(".")
        tails = (".".join(keys[-n:]) for n in range(1, len(keys) + 1))
        alone = (
            tail
            for tail in tails
            if sum(f".{other}".endswith(f".{tail}") for other in paths) == 1
        )
        found[path] = _UNSAFE.sub("-", next(alone, path))
    return found


def _spelled(values: Sequence[Any]) -> list[str]:
    """A short text for each value; its position where there is none."""
    texts = [_UNSAFE.sub("-", _text(value)) for value in values]
    usable = all(0 < len(text) <= _LONGEST_VALUE for text in texts)
    if usable and len(set(texts)) == len(texts):
        return texts
    return [str(i) for i in range(len(values))]


def _text(value: Any) -> str:
    match value:
        case {"Type": str(name)} | {"Name": str(name)}:
            return name
        case dict():
            return ""
        case [*items]:
            return "-".join(map(_text, items))
        case bool() | None:
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _seeded(config: Config, seed: int) -> Config:
    general = config.general.model_copy(update={"seed": seed})
    return config.model_copy(update={"general": general})


Found = Iterator[tuple[Location, str]]


def _blamed(
    wrong: Mapping[Mistake, Sequence[_Point]], points: Iterable[_Point]
) -> Found:
    """Mistakes with the place they come from.

    That is a setting, or a value of the grid, if whatever has it has the mistake.
    """
    owners: dict[Location, set[str]] = {}
    for point in points:
        for place in point.places:
            owners.setdefault(place, set()).add(point.name)
    for mistake, bad in wrong.items():
        left = {point.name for point in bad}
        for place, names in owners.items():
            if names <= {point.name for point in bad} and names & left:
                left -= names
                yield _placed(place, bad, mistake)
        for name in sorted(left):
            yield (), f"{name}: {mistake}"


def _placed(
    place: Location, bad: Sequence[_Point], mistake: Mistake
) -> tuple[Location, str]:
    if place[0] == "Grid":
        named = mistake.path == place[1]
        return place, mistake.message if named else str(mistake)
    change = (*place, "Change")
    if any(place in point.places and mistake.path in point.change for point in bad):
        return (*change, mistake.path), mistake.message
    return change, str(mistake)


def _repeated(valid: Mapping[str, Config], points: Sequence[_Point]) -> Found:
    places = {point.name: point.places for point in points}
    first: dict[str, str] = {}
    for name, config in valid.items():
        text = document.dump(config)
        if text in first:
            where = places[name][0] if len(places[name]) == 1 else ()
            yield where, f"{name} is the same configuration as {first[text]}"
        first.setdefault(text, name)


def _check(written: dict[str, Any]) -> Found:
    """Mistakes in how the parts of a document refer to one another."""
    settings = written.get("Settings")
    grid = written.get("Grid")
    grid = grid if isinstance(grid, dict) else {}
    first: dict[str, int] = {}
    for i, setting in enumerate(settings if isinstance(settings, list) else ()):
        if not isinstance(setting, dict):
            continue
        name, change = setting.get("Name"), setting.get("Change")
        if isinstance(name, str) and name in first:
            where = f"Settings[{first[name]}]"
            yield ("Settings", i, "Name"), f"{name!r} is the name of {where} too"
        elif isinstance(name, str):
            first[name] = i
        for path in change if isinstance(change, dict) else ():
            place: Location = ("Settings", i, "Change", path)
            if path == _SEED:
                yield place, "is given by Seeds"
            elif path in grid:
                yield place, "is in the Grid too"
    if _SEED in grid:
        yield ("Grid", _SEED), "is given by Seeds"
