"""Unbinned likelihoods in files: a JSON document beside arrays of events.

The document describes parameters, regions and components. For every region there is a
folder with the reference events, and one with those of the data, if there are any:

- `weight.npy`: events per row,
- `log_ratio.npy`: one column for each component,
- `shape_<component>_<number>.npy`: terms of each morph of a component.

Everything that `diffana fit`, `scan`, `limit` and `significance` need is there; no
network has to be evaluated again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffana import documents, nsbi
from diffana.errors import DataError, SpecificationError
from diffana.files import put_file
from diffana.likelihood import Parameters
from diffana.nsbi.rows import CHUNK, AbstractTerms


FILE = "likelihood.json"
FORMAT = "diffana unbinned likelihood, version 1"

# Arrays of a region that take more memory than this are read chunk by chunk.
_LARGEST_HELD = 2**30


class Measurement(NamedTuple):
    """An unbinned likelihood that is ready for inference.

    Attributes:
        model: the likelihood.
        data: the events, or the expected ones at the starting values.
        origin: where it came from, for messages.
        observed: whether `data` were measured.
        squares: quantities that are the square of a parameter, and of which: where
            signal and background interfere, μ of its square root.
    """

    model: nsbi.Unbinned
    data: nsbi.UnbinnedData
    origin: str
    observed: bool
    squares: Mapping[str, str]

    @property
    def parameters(self) -> Parameters:
        """Names, starting values and bounds."""
        return self.model.parameters

    @property
    def poi(self) -> str:
        """Name of the parameter of interest.

        Raises:
            SpecificationError: if there is none.
        """
        if self.model.parameters.poi is None:
            raise SpecificationError(f"{self.origin}: no parameter of interest")
        return self.model.parameters.poi


def store(
    folder: Path,
    model: nsbi.Unbinned,
    data: nsbi.UnbinnedData | None = None,
    *,
    squares: Mapping[str, str] | None = None,
) -> None:
    """Write a likelihood, the document last: without it there is none.

    Args:
        folder: exists. Files of an earlier likelihood are replaced.
        model: the likelihood. Its morphs are `PolyExp` or `LogPolynomial`, and its
            events are in memory.
        data: observed events, with terms of their own; None if there are none yet.
        squares: as in `Measurement`.

    Raises:
        SpecificationError: if the model has parts that the document cannot express.
        OSError: if a file cannot be written.
    """
    document = {
        "format": FORMAT,
        "poi": model.parameters.poi,
        "interpolated": list(model.parameters.interpolated),
        "parameters": _parameters(model),
        "regions": [_region(channel) for channel in model.channels],
        "squares": dict(squares or {}),
        "data": None,
    }
    for channel in model.channels:
        _put_rows(folder / "rows" / channel.name, channel.bank)
    if data is not None:
        document["data"] = {"auxdata": np.asarray(data.auxdata).tolist()}
        for channel, rows in zip(model.channels, data.rows, strict=True):
            _put_rows(folder / "data" / channel.name, rows)
    content = json.dumps(document, indent=2, allow_nan=False)
    put_file(folder / FILE, f"{content}\n".encode())


def read(path: Path, *, chunk: int = CHUNK) -> Measurement:
    """Read a likelihood.

    Args:
        path: the document or its folder.
        chunk: events that are in memory at a time where arrays stay on the disk.

    Raises:
        SpecificationError: in one line that names the place.

    Example:
        >>> measurement = read(Path("runs/nsbi"))
        >>> fit(measurement.model, measurement.data)
    """
    file = path / FILE if path.is_dir() else path
    try:
        content = documents.read(file)
    except documents.DocumentError as error:
        raise SpecificationError(str(error)) from error
    try:
        document = _Document.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SpecificationError(f"{file}: {place}: {first['msg']}") from error
    try:
        return _measurement(document, file, chunk)
    except DataError as error:
        raise SpecificationError(f"{file}: {error}") from error
    except ValueError as error:
        raise SpecificationError(f"{file}: {error}") from error


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Parameter(_Section):
    name: str
    init: float
    lower: float | None
    upper: float | None
    fixed: bool = False
    width: Annotated[float, Field(gt=0)] | None = None


class _Products(_Section):
    kind: Literal["products"]
    factors: list[list[str]]


class _Interference(_Section):
    kind: Literal["interference"]
    amplitude: str


class _Morphing(_Section):
    kind: Literal["morphing"]
    couplings: list[str]
    powers: list[list[int]]
    weights: list[list[float]]


class _PolyExp(_Section):
    kind: Literal["polyexp"]
    parameters: list[str]


class _LogPolynomial(_Section):
    kind: Literal["log polynomial"]
    parameters: list[str]
    powers: list[list[int]]


class _Component(_Section):
    name: str
    expected: Annotated[float, Field(ge=0)]
    normalised: bool = True
    yield_factors: dict[str, tuple[float, float]] = {}
    shapes: list[Annotated[_PolyExp | _LogPolynomial, Field(discriminator="kind")]] = []


class _Region(_Section):
    name: Annotated[str, Field(pattern=r"^[\w .+-]+$")]
    coefficients: list[
        Annotated[_Products | _Interference | _Morphing, Field(discriminator="kind")]
    ]
    components: list[_Component]


class _Data(_Section):
    auxdata: list[float]


class _Document(_Section):
    format: Literal["diffana unbinned likelihood, version 1"]
    poi: str | None
    interpolated: list[str] = []
    parameters: list[_Parameter]
    regions: Annotated[list[_Region], Field(min_length=1)]
    squares: dict[str, str] = {}
    data: _Data | None = None


def _measurement(document: _Document, file: Path, chunk: int) -> Measurement:
    constrained = [one for one in document.parameters if one.width is not None]
    channels = tuple(
        _channel(region, file.parent / "rows" / region.name, chunk)
        for region in document.regions
    )
    model = nsbi.Unbinned(
        parameters=Parameters(
            inits=jnp.array([one.init for one in document.parameters], float),
            lower=jnp.array([_or(one.lower, -math.inf) for one in document.parameters]),
            upper=jnp.array([_or(one.upper, math.inf) for one in document.parameters]),
            fixed=jnp.array([one.fixed for one in document.parameters], bool),
            names=tuple(one.name for one in document.parameters),
            poi=document.poi,
            interpolated=tuple(document.interpolated),
        ),
        channels=channels,
        constraints=nsbi.GaussianConstraints(
            tuple(one.name for one in constrained),
            np.array([one.width for one in constrained], float),
        ),
    )
    if document.data is None:
        data = _expected(model)
    else:
        if len(document.data.auxdata) != len(constrained):
            raise ValueError(
                f"data: {len(document.data.auxdata)} auxiliary measurements, but "
                f"{len(constrained)} constrained parameters"
            )
        rows = tuple(
            _rows(region, file.parent / "data" / region.name, chunk)
            for region in document.regions
        )
        data = nsbi.UnbinnedData(rows, jnp.array(document.data.auxdata, float))
    for name, parameter in document.squares.items():
        if parameter not in model.parameters.names or name in model.parameters.names:
            raise ValueError(f"squares: {name!r} is no square of {parameter!r}")
    nsbi.check(model, data)
    observed = document.data is not None
    return Measurement(model, data, str(file), observed, document.squares)


@eqx.filter_jit
def _expected(model: nsbi.Unbinned) -> nsbi.UnbinnedData:
    return model.expected_data(model.parameters.inits)


def _channel(region: _Region, folder: Path, chunk: int) -> nsbi.Channel:
    parts = []
    for part in region.coefficients:
        match part:
            case _Products():
                parts.append(nsbi.Products(tuple(map(tuple, part.factors))))
            case _Interference():
                parts.append(nsbi.Interference(part.amplitude))
            case _Morphing():
                powers = tuple(map(tuple, part.powers))
                weights = jnp.array(part.weights, float)
                parts.append(nsbi.Morphing(tuple(part.couplings), powers, weights))
    components = [
        nsbi.Component(
            expected=one.expected,
            yield_morph=nsbi.YieldMorph(
                tuple(one.yield_factors),
                [up for up, _ in one.yield_factors.values()],  # pyright: ignore[reportArgumentType]
                [down for _, down in one.yield_factors.values()],  # pyright: ignore[reportArgumentType]
            ),
            shape_morphs=tuple(_morph(shape) for shape in one.shapes),
            name=one.name,
            normalised=one.normalised,
        )
        for one in region.components
    ]
    return nsbi.Channel(
        tuple(components),
        nsbi.Stacked(tuple(parts)),
        _rows(region, folder, chunk),
        region.name,
    )


def _morph(shape: _PolyExp | _LogPolynomial) -> nsbi.AbstractMorph:
    names = tuple(shape.parameters)
    if isinstance(shape, _PolyExp):
        return nsbi.PolyExp(names)
    return nsbi.LogPolynomial(names, tuple(map(tuple, shape.powers)))


def _rows(region: _Region, folder: Path, chunk: int) -> nsbi.Rows:
    weight = _array(folder / "weight.npy")
    ratios = _array(folder / "log_ratio.npy")
    shapes = tuple(
        tuple(
            _array(folder / f"shape_{number}_{i}.npy") for i in range(len(one.shapes))
        )
        for number, one in enumerate(region.components)
    )
    terms = nsbi.Terms(ratios, shapes)
    for name, found in (("weight", weight), *_named(terms)):
        if len(found) != len(weight):
            raise ValueError(
                f"{folder}: {len(weight)} weights, but {len(found)} rows of {name}"
            )
    if ratios.ndim != 2 or ratios.shape[1] != len(region.components):
        raise ValueError(
            f"{folder}: log_ratio has shape {ratios.shape}, but there are "
            f"{len(region.components)} components"
        )
    try:
        if sum(one.nbytes for one in jax.tree.leaves(terms)) <= _LARGEST_HELD:
            return nsbi.held(weight, ratios, shapes, chunk=chunk)
        stored = _StoredRows(folder, terms, chunk)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    n_chunks = -(-len(weight) // chunk)
    filled = np.zeros(n_chunks * chunk)
    filled[: len(weight)] = weight
    source: AbstractTerms = nsbi.StoredTerms(stored)
    return nsbi.Rows(jnp.asarray(filled.reshape(n_chunks, chunk)), source)


class _StoredRows:
    """Chunks of rows, read when they are asked for.

    They are read and not mapped into memory: pages of a mapped file count as memory of
    the process until the system is short of it.

    Attributes:
        folder: where the arrays are; equal folders are equal rows.
        chunk: rows in a chunk.
    """

    def __init__(self, folder: Path, terms: nsbi.Terms, chunk: int):
        self.folder = folder
        self.chunk = chunk
        self._layout = jax.tree.map(
            lambda one: _Layout(
                Path(one.filename), one.offset, one.dtype, one.shape[1:], len(one)
            ),
            terms,
        )

    def __call__(self, number: int) -> nsbi.Terms:
        return jax.tree.map(
            lambda one: one.rows(number, self.chunk),
            self._layout,
            is_leaf=lambda node: isinstance(node, _Layout),
        )

    def _identity(self) -> tuple[Any, ...]:
        return (self.folder, self.chunk)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _StoredRows) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


class _Layout:
    """Where the rows of an array are in a file."""

    def __init__(
        self,
        path: Path,
        offset: int,
        dtype: np.dtype,
        shape: tuple[int, ...],
        n_rows: int,
    ):
        self.path, self.offset, self.dtype = path, offset, dtype
        self.shape, self.n_rows = shape, n_rows

    def rows(self, number: int, chunk: int) -> np.ndarray:
        """Rows of a chunk, zeros after the end."""
        first = number * chunk
        n_rows = max(0, min(chunk, self.n_rows - first))
        width = math.prod(self.shape)
        found = np.fromfile(
            self.path,
            self.dtype,
            n_rows * width,
            offset=self.offset + first * width * self.dtype.itemsize,
        ).reshape(n_rows, *self.shape)
        if n_rows == chunk:
            return found
        filled = np.zeros((chunk, *self.shape), self.dtype)
        filled[:n_rows] = found
        return filled


def _array(path: Path) -> np.memmap:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: not an array: {error}") from error
    if not isinstance(found, np.memmap) or found.dtype.kind != "f" or not found.ndim:
        raise ValueError(f"{path}: not an array of floating-point numbers")
    if not found.flags.c_contiguous:
        raise ValueError(f"{path}: stored by columns; store it by rows (C order)")
    return found


def _named(terms: nsbi.Terms) -> list[tuple[str, Any]]:
    shapes = (
        (f"shape_{number}_{i}", rows)
        for number, of_component in enumerate(terms.shapes)
        for i, rows in enumerate(of_component)
    )
    return [("log_ratio", terms.log_ratio), *shapes]


def _put_rows(folder: Path, rows: nsbi.Rows) -> None:
    if not isinstance(rows.source, nsbi.HeldTerms):
        raise SpecificationError(f"{folder}: only events in memory can be written")
    folder.mkdir(parents=True, exist_ok=True)
    weight = np.ravel(rows.weight)
    # What fills up the last chunk is no event.
    n_rows = int(np.max(np.flatnonzero(weight), initial=-1)) + 1
    arrays = [("weight", weight), *_named(rows.source.terms)]
    for name, array in arrays:
        flat = np.asarray(array)
        if name != "weight":
            flat = flat.reshape(-1, *flat.shape[2:])
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, np.ascontiguousarray(flat[:n_rows]), allow_pickle=False)


def _parameters(model: nsbi.Unbinned) -> list[dict[str, Any]]:
    parameters = model.parameters
    widths = dict(
        zip(
            model.constraints.parameters,
            np.asarray(model.constraints.width).tolist(),
            strict=True,
        )
    )
    return [
        {
            "name": name,
            "init": float(parameters.inits[i]),
            "lower": _finite(parameters.lower[i]),
            "upper": _finite(parameters.upper[i]),
            "fixed": bool(parameters.fixed[i]),
            "width": widths.get(name),
        }
        for i, name in enumerate(parameters.names)
    ]


def _region(channel: nsbi.Channel) -> dict[str, Any]:
    coefficients = channel.coefficients
    parts = (
        coefficients.parts
        if isinstance(coefficients, nsbi.Stacked)
        else (coefficients,)
    )
    return {
        "name": channel.name,
        "coefficients": [_coefficients(part) for part in parts],
        "components": [
            {
                "name": one.name,
                "expected": float(one.expected),
                "normalised": one.normalised,
                "yield_factors": _yield_factors(one.yield_morph),
                "shapes": [_shape(morph) for morph in one.shape_morphs],
            }
            for one in channel.components
        ],
    }


def _coefficients(part: nsbi.AbstractCoefficients) -> Mapping[str, Any]:
    match part:
        case nsbi.Products():
            return {"kind": "products", "factors": [list(row) for row in part.factors]}
        case nsbi.Interference():
            return {"kind": "interference", "amplitude": part.amplitude}
        case nsbi.Morphing():
            return {
                "kind": "morphing",
                "couplings": list(part.couplings),
                "powers": [list(row) for row in part.powers],
                "weights": np.asarray(part.weights).tolist(),
            }
    raise SpecificationError(f"coefficients of type {type(part).__name__}")


def _yield_factors(morph: nsbi.YieldMorph) -> dict[str, tuple[float, float]]:
    up, down = np.asarray(morph.up).tolist(), np.asarray(morph.down).tolist()
    return {name: (up[i], down[i]) for i, name in enumerate(morph.parameters)}


def _shape(morph: nsbi.AbstractMorph) -> Mapping[str, Any]:
    names: Sequence[str] = list(morph.parameters)
    match morph:
        case nsbi.PolyExp():
            return {"kind": "polyexp", "parameters": names}
        case nsbi.LogPolynomial():
            powers = [list(row) for row in morph.powers]
            return {"kind": "log polynomial", "parameters": names, "powers": powers}
    raise SpecificationError(f"a morph of type {type(morph).__name__}")


def _finite(value: Float[Any, ""]) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
