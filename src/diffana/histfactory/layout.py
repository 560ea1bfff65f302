"""Which number of a HistFactory model belongs to what, and acts on what."""

from collections.abc import Callable
from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from diffana.errors import SpecificationError
from diffana.likelihood import Parameters


class Modifier(NamedTuple):
    """A modifier of one sample in one channel.

    Attributes:
        type: HistFactory's name of the type, `"histosys"` for example.
        name: name of the modifier, which is that of its parameter.
        start: first entry in the template arrays of this type.
        stop: one after the last entry; equals `start` for types without templates.
    """

    type: str
    name: str
    start: int
    stop: int


class Row(NamedTuple):
    """A sample in a channel, and its cells `start` to `stop` (excluded)."""

    channel: str
    sample: str
    start: int
    stop: int
    modifiers: tuple[Modifier, ...]


class Channel(NamedTuple):
    """A channel and its bins `start` to `stop` (excluded) of the main measurement."""

    name: str
    start: int
    stop: int


class ParameterSet(NamedTuple):
    """A parameter with all its components, one per bin or a single one.

    Attributes:
        name: name without a bin index.
        start: first component among all parameters.
        stop: one after the last component.
        aux_start: first auxiliary measurement.
        aux_stop: one after the last one; equals `aux_start` without a constraint.
        given: attributes the measurement sets by hand, `"bounds"` for example.
    """

    name: str
    start: int
    stop: int
    aux_start: int
    aux_stop: int
    given: tuple[str, ...]

    @property
    def components(self) -> slice:
        """Slice of the parameters."""
        return slice(self.start, self.stop)

    @property
    def auxiliary(self) -> slice:
        """Slice of the auxiliary measurements."""
        return slice(self.aux_start, self.aux_stop)


@final
class Layout(eqx.Module):
    """Structure of a HistFactory model, sized by what is not trivial.

    Rows are the pairs of channel and sample that exist, cells are the bins of the rows.
    Both are in pyhf's order: channels sorted by name, then samples sorted by name.
    Arrays hold positions; the methods translate names into slices of the arrays of
    `Templates`.

    Attributes:
        cell_bin: bin of the main measurement to which a cell contributes.
        cell_row: row of a cell.
        cell_factors: parameters that scale single cells, as positions in (1,
            parameters); padded with 0 to a power of two.
        row_factors: parameters that scale whole rows, in the same way.
        row_normsys: `normsys` entries of each row, as positions in (1, factors), padded
            in the same way.
        histosys_cell: cell an entry adds to.
        histosys_par: parameter that morphs an entry.
        normsys_row: row an entry scales.
        normsys_par: parameter that morphs an entry.
        shapesys_cell: cell whose uncertainty an entry describes.
        shapesys_par: γ of an entry.
        staterror_cell: cell whose uncertainty an entry describes.
        staterror_par: γ of an entry; the entries of one γ add in quadrature.
        gaussian_par: parameter under each Gaussian constraint.
        gaussian_aux: its auxiliary measurement.
        poisson_par: parameter under each Poisson constraint.
        poisson_aux: its auxiliary measurement.
        constraint_of_par: Gaussian, then Poisson constraints are numbered through; the
            constraint of each parameter, or their number where it has none.
        constraint_of_aux: the constraint of each auxiliary measurement.
        aux_derived: auxiliary measurements that follow from the templates.
        sigma_derived: Gaussian widths that follow from the templates.
        factor_derived: Poisson factors that follow from the templates.
        fixed_derived: parameters whose `fixed` flag follows from the templates.
        parameters: names, starting values, bounds and flags set by hand.
        rows: samples in channels, with their modifiers.
        channels: channels with their bins.
        parameter_sets: parameters without bin index.
        histosys_code: one of `code0`, `code2`, `code4p`.
        normsys_code: one of `code1`, `code4`.
    """

    cell_bin: Int[Array, " cell"]
    cell_row: Int[Array, " cell"]
    cell_factors: Int[Array, "cell factor"]
    row_factors: Int[Array, "row factor"]
    row_normsys: Int[Array, "row factor"]
    histosys_cell: Int[Array, " histosys"]
    histosys_par: Int[Array, " histosys"]
    normsys_row: Int[Array, " normsys"]
    normsys_par: Int[Array, " normsys"]
    shapesys_cell: Int[Array, " shapesys"]
    shapesys_par: Int[Array, " shapesys"]
    staterror_cell: Int[Array, " staterror"]
    staterror_par: Int[Array, " staterror"]
    gaussian_par: Int[Array, " gaussian"]
    gaussian_aux: Int[Array, " gaussian"]
    poisson_par: Int[Array, " poisson"]
    poisson_aux: Int[Array, " poisson"]
    constraint_of_par: Int[Array, " par"]
    constraint_of_aux: Int[Array, " aux"]
    aux_derived: Bool[Array, " aux"]
    sigma_derived: Bool[Array, " gaussian"]
    factor_derived: Bool[Array, " poisson"]
    fixed_derived: Bool[Array, " par"]
    parameters: Parameters
    rows: tuple[Row, ...] = eqx.field(static=True)
    channels: tuple[Channel, ...] = eqx.field(static=True)
    parameter_sets: tuple[ParameterSet, ...] = eqx.field(static=True)
    histosys_code: Callable[..., Array] = eqx.field(static=True)
    normsys_code: Callable[..., Array] = eqx.field(static=True)

    @property
    def n_bins(self) -> int:
        """Bins of the main measurement, all channels together."""
        return self.channels[-1].stop

    @property
    def n_aux(self) -> int:
        """Auxiliary measurements, one for each constrained parameter."""
        return jnp.size(self.aux_derived)

    def bins(self, channel: str) -> slice:
        """Bins of `channel` in the main measurement.

        Raises:
            SpecificationError: if there is no such channel.
        """
        for candidate in self.channels:
            if candidate.name == channel:
                return slice(candidate.start, candidate.stop)
        names = ", ".join(candidate.name for candidate in self.channels)
        raise SpecificationError(f"no channel {channel!r}; there are {names}")

    def row(self, channel: str, sample: str) -> Row:
        """The row of `sample` in `channel`, with its modifiers.

        Raises:
            SpecificationError: if the channel does not hold such a sample.
        """
        self.bins(channel)
        rows = [row for row in self.rows if row.channel == channel]
        for row in rows:
            if row.sample == sample:
                return row
        names = ", ".join(row.sample for row in rows)
        raise SpecificationError(
            f"channel {channel!r}: no sample {sample!r}; there are {names}"
        )

    def cells(self, channel: str, sample: str) -> slice:
        """Cells of `sample` in `channel`: a slice of `Templates.nominal`."""
        row = self.row(channel, sample)
        return slice(row.start, row.stop)

    def histosys(self, channel: str, sample: str, name: str) -> slice:
        """Entries in `Templates.histosys_lo` and `Templates.histosys_hi`."""
        return self._entries(channel, sample, "histosys", name)

    def normsys(self, channel: str, sample: str, name: str) -> int:
        """Position in `Templates.normsys_lo` and `Templates.normsys_hi`."""
        return self._entries(channel, sample, "normsys", name).start

    def shapesys(self, channel: str, sample: str, name: str) -> slice:
        """Entries in `Templates.shapesys`."""
        return self._entries(channel, sample, "shapesys", name)

    def staterror(self, channel: str, sample: str, name: str | None = None) -> slice:
        """Entries in `Templates.staterror`.

        `name` may be left out where the sample carries only one such modifier.
        """
        return self._entries(channel, sample, "staterror", name)

    def _entries(self, channel: str, sample: str, kind: str, name: str | None) -> slice:
        candidates = [
            modifier
            for modifier in self.row(channel, sample).modifiers
            if modifier.type == kind and name in (None, modifier.name)
        ]
        if len(candidates) != 1:
            raise SpecificationError(
                f"channel {channel!r}, sample {sample!r}: {len(candidates)} modifiers "
                f"of type {kind!r}" + ("" if name is None else f" named {name!r}")
            )
        return slice(candidates[0].start, candidates[0].stop)
