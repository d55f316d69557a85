"""Types that several routes share."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
# No control characters, so that ids survive logs, CSV files and URLs; NUL cannot be stored at all.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
ItemId = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=_PRINTABLE)]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PRINTABLE)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PRINTABLE)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**31)]


class Request(BaseModel):
    """A body we are sent: unknown fields are mistakes worth naming."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """A body we send."""

    model_config = ConfigDict(extra="forbid")


class FieldProblem(Answer):
    """One field of a request that is wrong."""

    field: str
    detail: str


class Problem(BaseModel):
    """An RFC 9457 problem. `code` is stable; `detail` says what was wrong and what would be right."""

    type: str = Field(description="URI reference that identifies the kind of problem")
    title: str
    status: int
    detail: str
    code: str = Field(examples=["unknown_project"])
    request_id: str
    errors: list[FieldProblem] | None = Field(default=None, description="One entry per wrong field")
    job: str | None = Field(default=None, description="The job to wait for, where one would help")


class Projection(Request):
    """A random map of the parameters."""

    dim: Annotated[int, Field(strict=True, ge=16, le=65_536)] = Field(default=4096, description="dimensions")


class Head(Request):
    """A perceptron on the inputs of the network's last layer."""

    hidden: list[Annotated[int, Field(strict=True, ge=1, le=65_536)]] = Field(
        default=[512], max_length=16, description="widths of its hidden layers"
    )
    infinite: bool = Field(default=False, strict=True, description="the limit of infinite width, in closed form")


class KernelOptions(Request):
    """How the tangent kernel over the window is computed."""

    kind: Literal["pntk", "single_logit", "last_layer", "head", "projected"] = Field(
        default="pntk",
        description="pntk: all outputs; single_logit: the first; last_layer: its input only; head: a fresh perceptron "
        "on that; projected: pntk through a random map",
    )
    # Below 1e-10 rounding, and not the ridge, would decide whether duplicates can both be labeled.
    ridge: Annotated[float, Field(strict=True, ge=1e-10, le=1e6)] = Field(
        default=1e-4, description="relative to the mean diagonal of the kernel over the window"
    )
    window: Annotated[int, Field(strict=True, ge=1, le=50_000)] | Literal["all"] = Field(
        default=4000, description="how many unlabeled candidates; labeled items are always in"
    )
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = Field(default="float32", description="in which the network runs")
    products: Literal["float64", "float32", "tf32", "bf16"] | None = Field(
        default=None,
        description="in which kernel entries are multiplied; null: float64, or float32 for deep networks. "
        "tf32 and bf16 are faster on GPUs only",
    )
    projection: Projection | None = Field(default=None, description="the map of kind projected; implies it with pntk")
    head: Head | None = Field(default=None, description="the perceptron of kind head")

    @model_validator(mode="after")
    def _belong(self) -> Self:
        if self.projection is not None and self.kind not in ("pntk", "projected"):
            raise ValueError(f"projection belongs to kind pntk or projected, and kind is {self.kind}")
        if self.head is not None and self.kind != "head":
            raise ValueError(f"head belongs to kind head, and kind is {self.kind}")
        return self


Json = dict[str, Any]
