"""Translation of a pyhf model into flat arrays."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyhf
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from diffana.errors import SpecificationError
from diffana.likelihood import Parameters

from .interpolation import code0, code1, code2, code4, code4p
from .layout import Channel, Layout, Modifier, ParameterSet, Row
from .templates import Templates


def compile_model(model: pyhf.Model) -> tuple[Layout, Templates]:
    """Structure and numbers of a pyhf model.

    Raises:
        SpecificationError: naming the part that cannot be represented.
    """
    _check(model)
    entries = _Entries(model)
    for channel, sample in _rows(model):
        entries.add_row(channel, sample)
    sets = _parameter_sets(model)
    constraints = _constraints(model, sets, entries)
    layout = Layout(
        cell_bin=_positions(entries["cell_bin"]),
        cell_row=_positions(entries["cell_row"]),
        cell_factors=_padded(entries["cell_factors"]),
        row_factors=_padded(entries["row_factors"]),
        row_normsys=_padded(entries["row_normsys"]),
        histosys_cell=_positions(entries["histosys_cell"]),
        histosys_par=_positions(entries["histosys_par"]),
        normsys_row=_positions(entries["normsys_row"]),
        normsys_par=_positions(entries["normsys_par"]),
        shapesys_cell=_positions(entries["shapesys_cell"]),
        shapesys_par=_positions(entries["shapesys_par"]),
        staterror_cell=_positions(entries["staterror_cell"]),
        staterror_par=_positions(entries["staterror_par"]),
        gaussian_par=_positions(constraints["gaussian_par"]),
        gaussian_aux=_positions(constraints["gaussian_aux"]),
        poisson_par=_positions(constraints["poisson_par"]),
        poisson_aux=_positions(constraints["poisson_aux"]),
        constraint_of_par=_numbered(constraints, "par", model.config.npars),
        constraint_of_aux=_numbered(constraints, "aux", len(model.config.auxdata)),
        aux_derived=_flags(constraints["aux_derived"]),
        sigma_derived=_flags(constraints["sigma_derived"]),
        factor_derived=_flags(constraints["factor_derived"]),
        fixed_derived=_fixed_derived(model.config.npars, sets, entries),
        parameters=_parameters(model, entries),
        rows=tuple(entries.rows),
        channels=tuple(
            Channel(name, bins.start, bins.stop)
            for name, bins in model.config.channel_slices.items()
        ),
        parameter_sets=sets,
        histosys_code=_code(model, "histosys", (code0, code2, code4p)),
        normsys_code=_code(model, "normsys", (code1, code4)),
    )
    templates = Templates(
        nominal=_floats(entries["nominal"]),
        histosys_lo=_floats(entries["histosys_lo"]),
        histosys_hi=_floats(entries["histosys_hi"]),
        normsys_lo=_floats(entries["normsys_lo"]),
        normsys_hi=_floats(entries["normsys_hi"]),
        shapesys=_floats(entries["shapesys"]),
        staterror=_floats(entries["staterror"]),
        auxdata=_floats(model.config.auxdata),
        sigma=_floats(constraints["sigma"]),
        factor=_floats(constraints["factor"]),
    )
    _check_normsys(layout, templates)
    return layout, templates


class _Entries(defaultdict[str, list[Any]]):
    """Growing lists, named after the arrays of `Layout` and `Templates`."""

    def __init__(self, model: pyhf.Model):
        super().__init__(list)
        self.model = model
        self.rows: list[Row] = []

    def add_row(self, channel: str, sample: dict[str, Any]) -> None:
        """Append `sample` of `channel` with everything that acts on it."""
        bins = self.model.config.channel_slices[channel]
        start = len(self["nominal"])
        cells = range(start, start + len(sample["data"]))
        self["nominal"] += sample["data"]
        self["cell_bin"] += range(bins.start, bins.stop)
        self["cell_row"] += [len(self.rows)] * len(cells)
        self["cell_factors"] += [[] for _ in cells]
        self["row_factors"].append([])
        self["row_normsys"].append([])
        modifiers = tuple(
            self._add_modifier(channel, cells, modifier)
            for modifier in sample["modifiers"]
        )
        row = Row(channel, sample["name"], cells.start, cells.stop, modifiers)
        self.rows.append(row)

    def _add_modifier(
        self, channel: str, cells: range, modifier: dict[str, Any]
    ) -> Modifier:
        name, kind, data = modifier["name"], modifier["type"], modifier["data"]
        pars = _components(self.model, channel, modifier, len(cells))
        # Only types with templates have such a list; it stays empty for the others.
        start = len(self[f"{kind}_par"])
        match kind:
            case "histosys":
                self["histosys_cell"] += cells
                self["histosys_par"] += [pars[0]] * len(cells)
                self["histosys_lo"] += data["lo_data"]
                self["histosys_hi"] += data["hi_data"]
            case "normsys":
                self["row_normsys"][-1].append(1 + start)
                self["normsys_row"].append(len(self.rows))
                self["normsys_par"].append(pars[0])
                self["normsys_lo"].append(data["lo"])
                self["normsys_hi"].append(data["hi"])
            case "normfactor" | "lumi":
                self["row_factors"][-1].append(1 + pars[0])
            case "shapefactor":
                self._add_cell_factors(cells, pars)
            case "shapesys" | "staterror":
                self._add_cell_factors(cells, pars)
                self[f"{kind}_cell"] += cells
                self[f"{kind}_par"] += pars
                self[kind] += data
            case _:
                raise SpecificationError(
                    f"channel {channel!r}: modifier {name!r} has unknown type {kind!r}"
                )
        return Modifier(kind, name, start, len(self[f"{kind}_par"]))

    def _add_cell_factors(self, cells: range, pars: range) -> None:
        for cell, par in zip(cells, pars, strict=True):
            self["cell_factors"][cell].append(1 + par)


def _constraints(
    model: pyhf.Model, sets: Iterable[ParameterSet], entries: _Entries
) -> dict[str, list[Any]]:
    """Constraint terms in the order of their auxiliary measurements."""
    columns: defaultdict[str, list[Any]] = defaultdict(list)
    constrained = [s for s in sets if s.aux_stop > s.aux_start]
    for parameter_set in sorted(constrained, key=lambda s: s.aux_start):
        paramset = model.config.param_set(parameter_set.name)
        pars = range(parameter_set.start, parameter_set.stop)
        n, given = len(pars), parameter_set.given
        auxiliary = range(parameter_set.aux_start, parameter_set.aux_stop)
        if paramset.pdf_type == "normal":
            from_templates = pars[0] in entries["staterror_par"]
            columns["gaussian_par"] += pars
            columns["gaussian_aux"] += auxiliary
            columns["sigma"] += paramset.width()
            columns["sigma_derived"] += [from_templates and "sigmas" not in given] * n
            columns["aux_derived"] += [False] * n
        else:
            columns["poisson_par"] += pars
            columns["poisson_aux"] += auxiliary
            columns["factor"] += paramset.factors
            columns["factor_derived"] += ["factors" not in given] * n
            columns["aux_derived"] += ["auxdata" not in given] * n
    return columns


def _numbered(
    constraints: dict[str, list[Any]], what: str, size: int
) -> Int[Array, " item"]:
    """Constraint of each parameter or auxiliary measurement; their number if none."""
    constrained = constraints[f"gaussian_{what}"] + constraints[f"poisson_{what}"]
    numbers = np.full(size, len(constrained))
    numbers[constrained] = np.arange(len(constrained))
    return jnp.asarray(numbers, int)


def _rows(model: pyhf.Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Channel and sample of every row, in pyhf's order."""
    samples = {
        (channel["name"], sample["name"]): sample
        for channel in model.spec["channels"]
        for sample in channel["samples"]
    }
    for channel in model.config.channels:
        for sample in model.config.samples:
            if (channel, sample) in samples:
                yield channel, samples[channel, sample]


def _components(
    model: pyhf.Model, channel: str, modifier: dict[str, Any], n_bins: int
) -> range:
    """Parameters by which `modifier` acts in `channel`, one per bin or a single one."""
    name, kind = modifier["name"], modifier["type"]
    components = model.config.par_slice(name)
    if kind not in ("shapefactor", "shapesys", "staterror"):
        return range(components.start, components.stop)
    start = components.start
    if kind == "staterror":
        # One `staterror` in several channels has a γ for each bin of all of them.
        start += sum(
            model.config.channel_nbins[other]
            for other in _channels_carrying(model, name, kind)
            if other < channel
        )
    if start + n_bins > components.stop:
        raise SpecificationError(
            f"channel {channel!r}: {kind} {name!r} has {n_bins} bins here, but only "
            f"{components.stop - start} components"
        )
    return range(start, start + n_bins)


def _channels_carrying(model: pyhf.Model, name: str, kind: str) -> set[str]:
    return {
        channel["name"]
        for channel in model.spec["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
        if (modifier["name"], modifier["type"]) == (name, kind)
    }


def _parameter_sets(model: pyhf.Model) -> tuple[ParameterSet, ...]:
    """Parameters in pyhf's order, with their auxiliary measurements."""
    config = model.config
    given = {
        parameter["name"]: tuple(key for key in parameter if key != "name")
        for parameter in model.spec.get("parameters", ())
    }
    auxiliary, stop = {}, 0
    for name in config.auxdata_order:
        start, stop = stop, stop + config.param_set(name).n_parameters
        auxiliary[name] = (start, stop)
    sets = []
    for name in config.par_order:
        components, (start, stop) = config.par_slice(name), auxiliary.get(name, (0, 0))
        sets.append(
            ParameterSet(
                name,
                components.start,
                components.stop,
                start,
                stop,
                given.get(name, ()),
            )
        )
    return tuple(sets)


def _parameters(model: pyhf.Model, entries: _Entries) -> Parameters:
    config = model.config
    lower, upper = zip(*config.suggested_bounds(), strict=True)
    interpolated = sorted(set(entries["histosys_par"]))
    return Parameters(
        inits=_floats(config.suggested_init()),
        lower=_floats(lower),
        upper=_floats(upper),
        fixed=_flags(config.suggested_fixed()),
        names=tuple(config.par_names),
        poi=config.poi_name,
        interpolated=tuple(config.par_names[par] for par in interpolated),
    )


def _fixed_derived(
    n_par: int, sets: Iterable[ParameterSet], entries: _Entries
) -> Bool[Array, " par"]:
    derived = np.zeros(n_par, bool)
    derived[entries["shapesys_par"] + entries["staterror_par"]] = True
    for parameter_set in sets:
        if "fixed" in parameter_set.given:
            derived[parameter_set.components] = False
    return _flags(derived)


def _code(
    model: pyhf.Model, kind: str, codes: tuple[Callable[..., Array], ...]
) -> Callable[..., Array]:
    name = model.main_model.modifiers_appliers[kind].interpcode
    for code in codes:
        if code.__name__ == name:
            return code
    raise SpecificationError(f"{kind}: unknown interpolation {name!r}")


def _positions(values: ArrayLike) -> Int[Array, "*shape"]:
    return jnp.asarray(np.asarray(values, np.int64))


def _floats(values: Sequence[float]) -> Float[Array, " item"]:
    return jnp.asarray(np.asarray(values, np.float64))


def _flags(values: ArrayLike) -> Bool[Array, " item"]:
    return jnp.asarray(np.asarray(values, bool))


def _padded(positions: list[list[int]]) -> Int[Array, "item factor"]:
    """Rows of equal length, a power of two, filled up with 0."""
    longest = max(map(len, positions))
    width = 1 << max(longest - 1, 0).bit_length()
    return _positions([row + [0] * (width - len(row)) for row in positions])


def _check(model: pyhf.Model) -> None:
    """Refuse what pyhf accepts and this package does not represent."""
    if model.batch_size is not None:
        raise SpecificationError("a batched model cannot be represented; use jax.vmap")
    main = model.main_model
    if main.clip_sample_data is not None or main.clip_bin_data is not None:
        raise SpecificationError("clipping of expected yields cannot be represented")
    _check_unique("channel", (c["name"] for c in model.spec["channels"]))
    for channel in model.spec["channels"]:
        where = f"channel {channel['name']!r}: sample"
        _check_unique(where, (s["name"] for s in channel["samples"]))
        for sample in channel["samples"]:
            where = f"channel {channel['name']!r}, sample {sample['name']!r}: modifier"
            _check_unique(
                where, (f"{m['type']} {m['name']}" for m in sample["modifiers"])
            )


def _check_unique(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise SpecificationError(f"{what} {name!r} occurs {count} times")


def _check_normsys(layout: Layout, templates: Templates) -> None:
    """Refuse factors for which pyhf's interpolation is NaN."""
    code = layout.normsys_code
    lowest = np.minimum(templates.normsys_lo, templates.normsys_hi)
    refused = (lowest < 0) | ((lowest == 0) & (code is code4))
    if not refused.any():
        return
    for row in layout.rows:
        for kind, name, position, _ in row.modifiers:
            if kind == "normsys" and refused[position]:
                raise SpecificationError(
                    f"channel {row.channel!r}, sample {row.sample!r}: normsys {name!r} "
                    f"has a factor {lowest[position]}, which {code.__name__} cannot "
                    "interpolate"
                )
