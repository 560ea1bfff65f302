"""What has to be learned for an unbinned likelihood, and what becomes of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from diffana.assemble.model import applies
from diffana.assemble.nsbi.events import Piece, Simulation
from diffana.config import (
    NormalizationSystematic,
    NsbiConfig,
    NsbiNormPlusShapeSystematic,
    Symmetrized,
)
from diffana.errors import DataError, SpecificationError


PARAMETRIC = "parametric"


class Job(NamedTuple):
    """Density ratios that are learned together.

    Attributes:
        name: of the job.
        ratios: name of the ratio of each class but the first to that.
        classes: what each class consists of, the denominator first.
        points: of a ratio that depends on nuisance parameters, their values in each
            class but the first; None for ratios that do not.
        parameters: names of these parameters.
        powers: power of each of them in each monomial.
    """

    name: str
    ratios: tuple[str, ...]
    classes: tuple[tuple[Piece, ...], ...]
    points: tuple[tuple[float, ...], ...] | None = None
    parameters: tuple[str, ...] = ()
    powers: tuple[tuple[int, ...], ...] = ()


class Ends(NamedTuple):
    """How the shape of a component varies with one nuisance parameter.

    Attributes:
        parameter: name of the parameter.
        up: ratio of the density at +1 to the nominal one; None where they are equal.
        down: the same at -1.
        is_mirrored: whether the logarithm at -1 is minus that at +1, instead.
    """

    parameter: str
    up: str | None
    down: str | None
    is_mirrored: bool


class ComponentPlan(NamedTuple):
    """One component of the likelihood.

    Attributes:
        piece: the events that it describes.
        chain: ratios whose product is that to `base`.
        base: a piece of the reference; None for the reference itself.
        polyexp: variations that are interpolated by `PolyExp`.
        logquadratic: variations that are interpolated in the logarithm.
        parametric: the job that learned the remaining variations; None without any.
    """

    piece: Piece
    chain: tuple[str, ...]
    base: Piece | None
    polyexp: tuple[Ends, ...]
    logquadratic: tuple[Ends, ...]
    parametric: Job | None

    @property
    def name(self) -> str:
        """Sample, and the sign of the weights if it is the negative one."""
        return _named(self.piece)


class Member(NamedTuple):
    """A piece of the reference; see `Plan`."""

    piece: Piece
    fraction: float
    ratio: str | None


class Plan(NamedTuple):
    """Ratios and components.

    Attributes:
        reference: what the reference consists of, each piece with its fraction of the
            expected events and its ratio to the first one; None for the first. Learned
            so, the densities of its pieces add up to that of the reference exactly.
        components: those of the likelihood, in its order.
        jobs: what is learned, in its order.
    """

    reference: tuple["Member", ...]
    components: tuple[ComponentPlan, ...]
    jobs: tuple[Job, ...]

    @property
    def reference_pieces(self) -> tuple[Piece, ...]:
        """What the reference consists of."""
        return tuple(member.piece for member in self.reference)

    @property
    def ratios(self) -> tuple[str, ...]:
        """Names of all ratios."""
        return tuple(name for job in self.jobs for name in job.ratios)


def plan(config: NsbiConfig, simulated: Simulation) -> Plan:
    """What has to be learned.

    Args:
        config: the configuration.
        simulated: its events, which tell whether weights are negative.

    Raises:
        DataError: if a variation has other signs of weights than its nominal sample, or
            a sample of both signs stands where it cannot.
        SpecificationError: if two ratios would have the same name.
    """
    chains, reference, jobs = _nominal(config, simulated)
    components = []
    for sample in ordered_samples(config):
        for piece in simulated.pieces(sample):
            component, own = _varied(config, simulated, piece, chains[piece])
            components.append(component)
            jobs += own
    names = [name for job in jobs for name in job.ratios]
    for name in names:
        if names.count(name) > 1:
            raise SpecificationError(
                f"two density ratios would be called {name!r}; rename a sample or a "
                "systematic"
            )
    return Plan(reference, tuple(components), _merged(config, jobs))


def ordered_samples(config: NsbiConfig) -> tuple[str, ...]:
    """Simulated samples in the order of the components."""
    first: list[str] = []
    if config.interference is not None:
        section = config.interference
        first += [section.signal, section.total, section.background]
    if config.morphing is not None:
        first += config.morphing.points
    names = (sample.name for sample in config.simulated)
    return tuple(dict.fromkeys([*first, *names]))


def _named(piece: Piece, variation: str = "") -> str:
    """Name of the ratio that gives a piece, or a variation of it."""
    sign = ".negative" if piece.is_negative else ""
    varied = f".{variation}" if variation else ""
    return f"{piece.sample}{sign}{varied}"


class _Chain(NamedTuple):
    """How a piece is related to the reference; see `ComponentPlan`."""

    ratios: tuple[str, ...]
    base: Piece | None


def _nominal(
    config: NsbiConfig, simulated: Simulation
) -> tuple[Mapping[Piece, _Chain], tuple[Member, ...], list[Job]]:
    """The ratios that relate nominal pieces to the reference."""
    members, jobs = _members(config, simulated)
    pieces = tuple(member.piece for member in members)
    through = {one.name: one.through for one in config.simulated}
    chains: dict[Piece, _Chain] = {}

    def chain(piece: Piece) -> _Chain:
        if piece in chains:
            return chains[piece]
        if piece in pieces:
            return _Chain((), piece)
        target, name = through[piece.sample], _named(piece)
        if target is None:
            denominator, rest = pieces, _Chain((), None)
        else:
            first, *others = denominator = simulated.pieces(target)
            if others:
                raise DataError(
                    f"sample {piece.sample!r}: it cannot be learned through "
                    f"{target!r}, which has negative weights and is no density"
                )
            rest = chain(first)
        jobs.append(Job(name, (name,), (denominator, (piece,))))
        chains[piece] = _Chain((name, *rest.ratios), rest.base)
        return chains[piece]

    names = ordered_samples(config)
    found = {piece: chain(piece) for name in names for piece in simulated.pieces(name)}
    return found, members, jobs


def _members(
    config: NsbiConfig, simulated: Simulation
) -> tuple[tuple[Member, ...], list[Job]]:
    """The pieces of the reference, and the ratios between them."""
    first, *others = (
        piece for name in config.reference for piece in simulated.pieces(name)
    )
    total = sum(simulated.expected(piece) for piece in (first, *others))
    jobs = [
        Job(_named(piece), (_named(piece),), ((first,), (piece,))) for piece in others
    ]
    names = [None, *(job.name for job in jobs)]
    members = tuple(
        Member(piece, simulated.expected(piece) / total, name)
        for piece, name in zip((first, *others), names, strict=True)
    )
    return members, jobs


def _varied(
    config: NsbiConfig, simulated: Simulation, piece: Piece, chain: _Chain
) -> tuple[ComponentPlan, list[Job]]:
    """A component with the ratios of its variations to the nominal sample."""
    jobs: list[Job] = []
    ends: dict[str, list[Ends]] = {"polyexp": [], "logquadratic": []}
    parametric = []
    for systematic in shape_systematics(config, piece.sample):
        sides: dict[str, Piece | None] = {}
        is_mirrored = isinstance(systematic.down, Symmetrized)
        for side in ("up",) if is_mirrored else ("up", "down"):
            varied = piece.varied(f"{systematic.name}/{side}")
            _check_signs(simulated, varied)
            sides[side] = None if simulated.is_nominal(varied) else varied
        if not any(sides.values()):
            continue
        if systematic.morph == PARAMETRIC:
            parametric.append((systematic.parameter, sides))
            continue
        names: dict[str, str | None] = {"up": None, "down": None}
        for side, varied in sides.items():
            if varied is not None:
                name = _named(piece, f"{systematic.name}.{side}")
                names[side] = name
                jobs.append(Job(name, (name,), ((piece,), (varied,))))
        ends[systematic.morph].append(
            Ends(systematic.parameter, names["up"], names["down"], is_mirrored)
        )
    job = _parametric(piece, parametric) if parametric else None
    component = ComponentPlan(
        piece, *chain, tuple(ends["polyexp"]), tuple(ends["logquadratic"]), job
    )
    return component, jobs if job is None else [*jobs, job]


def _parametric(
    piece: Piece, variations: Sequence[tuple[str, Mapping[str, Piece | None]]]
) -> Job:
    """One network for all nuisance parameters of a piece."""
    names = tuple(parameter for parameter, _ in variations)
    unit = [tuple(int(i == j) for j in range(len(names))) for i in range(len(names))]
    classes, points, powers = [], [], []
    for row, (_, sides) in zip(unit, variations, strict=True):
        powers.append(row)
        if "down" in sides:
            powers.append(tuple(2 * n for n in row))
        # Mirrored in the logarithm is linear in it.
        for side, varied in sides.items():
            sign = 1.0 if side == "up" else -1.0
            points.append(tuple(sign * n for n in row))
            classes.append((piece if varied is None else varied,))
    name = _named(piece, PARAMETRIC)
    return Job(
        name,
        (name,),
        ((piece,), *classes),
        points=tuple(points),
        parameters=names,
        powers=tuple(powers),
    )


def shape_systematics(
    config: NsbiConfig, sample: str
) -> tuple[NsbiNormPlusShapeSystematic, ...]:
    """Systematics on the shape of a sample."""
    return tuple(
        one
        for one in systematics(config, sample)
        if isinstance(one, NsbiNormPlusShapeSystematic)
    )


def systematics(
    config: NsbiConfig, sample: str
) -> tuple[NormalizationSystematic | NsbiNormPlusShapeSystematic, ...]:
    """Systematics on a sample.

    Raises:
        SpecificationError: if two of them have the same parameter.
    """
    found = tuple(
        one for one in config.systematics or () if applies(one.samples, sample)
    )
    first: dict[str, str] = {}
    for one in found:
        other = first.setdefault(one.parameter, one.name)
        if other != one.name:
            raise SpecificationError(
                f"sample {sample!r}: the systematics {other!r} and {one.name!r} change "
                f"it by the same parameter {one.parameter!r}; give one of them another "
                "ModifierName"
            )
    return found


def _check_signs(simulated: Simulation, varied: Piece) -> None:
    signs, nominal = (
        len(simulated.pieces(varied.sample, variation))
        for variation in (varied.variation, "nominal")
    )
    if signs != nominal:
        which = "nominal events have" if nominal > signs else "variation has"
        raise DataError(
            f"sample {varied.sample!r}, variation {varied.variation!r}: only the "
            f"{which} negative weights, so that there is no ratio between them"
        )


def _merged(config: NsbiConfig, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Ratios to the same denominator as one job, if they are learned by one network."""
    if config.ratios.loss != "multiclass":
        return tuple(jobs)
    found: dict[tuple[Piece, ...] | str, Job] = {}
    for job in jobs:
        key = job.classes[0] if job.points is None else job.name
        if key in found:
            first = found[key]
            job = first._replace(
                name=f"{first.name}, {job.name}",
                ratios=(*first.ratios, *job.ratios),
                classes=(*first.classes, *job.classes[1:]),
            )
        found[key] = job
    return tuple(found.values())
