"""What every section of a configuration file is built from."""

import ast
import re
import warnings
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveFloat,
    StringConstraints,
    Tag,
)
from pydantic.alias_generators import to_pascal
from pydantic_core import CoreSchema, core_schema


Item = TypeVar("Item")


class Section(BaseModel):
    """A part of the configuration: immutable, and every key in it is known.

    Keys are spelled in PascalCase in the file and in snake_case in Python. Numbers are
    finite and nothing is converted: `"4"` is not 4.
    """

    model_config = ConfigDict(
        alias_generator=to_pascal,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        strict=True,
    )


def _spelled_as_python(expression: str) -> str:
    """The expression with the logical operators of C and ROOT replaced."""
    spelled = expression.replace("&&", " and ").replace("||", " or ")
    return re.sub(r"!(?!=)", " not ", spelled).strip()


def _parsable(expression: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            ast.parse(_spelled_as_python(expression), mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error) or "too deeply nested"
            raise ValueError(
                f"{expression!r} is not an expression ({reason}); an "
                "example is \"pt > 20 and Label == 's'\""
            ) from error
    return expression


class _OneOrMany:
    """Lets a single item stand where a list of items may, as cabinetry does."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: value if isinstance(value, list | tuple) else [value],
            handler(source),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


# YAML has lists only, and a strict tuple refuses them; its items stay strict.
Many = Annotated[tuple[Item, ...], Field(strict=False, min_length=1)]
OneOrMany = Annotated[tuple[Item, ...], Field(strict=False, min_length=1), _OneOrMany()]
Range = Annotated[tuple[float, float], Field(strict=False)]

# A slash separates the name of a systematic from `up` and `down`; a control character
# would act on the terminal that the name is printed on.
Name = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f-\x9f]+$")]
Column = Annotated[str, StringConstraints(min_length=1)]
Expression = Annotated[str, AfterValidator(_parsable)]

# Nothing that counts more fits into memory, and far more ends XLA with the process.
LARGEST_COUNT = 10**9
Count = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
# What a seed of JAX may be.
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class ExponentialSchedule(Section):
    """A value that changes by the same factor in each update of the training."""

    type: Literal["exponential"]
    start: PositiveFloat = Field(description="Value in the first update.")
    end: PositiveFloat = Field(description="Value in the last update.")


class LinearSchedule(Section):
    """A value that changes by the same amount in each update of the training."""

    type: Literal["linear"]
    start: PositiveFloat = Field(description="Value in the first update.")
    end: PositiveFloat = Field(description="Value in the last update.")


def _number_or_schedule(value: Any) -> str:
    return "schedule" if isinstance(value, dict | Section) else "number"


Schedule = Annotated[
    ExponentialSchedule | LinearSchedule, Field(discriminator="type"), Tag("schedule")
]
Scheduled = Annotated[
    Annotated[PositiveFloat, Tag("number")] | Schedule,
    Discriminator(_number_or_schedule),
]
