"""Projects, pools and items."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from api_schemas.common import Answer, ClassName, ItemId, KernelOptions, Name, Request
from api_schemas.filters import Changes, Scalar, at_most
from api_schemas.labels import LabelEvent
from api_schemas.suggest import GivenDefaults, SuggestDefaults

_CHANGED_MAX = 50_000


CLASSES_MAX = 10_000


def _distinct(classes: list[str]) -> list[str]:
    seen: set[str] = set()
    for name in classes:
        if name in seen:
            raise ValueError(f"class {name!r} is given twice")
        seen.add(name)
    return classes


class Labeling(Request):
    """How several annotators' opinions of one item make its label."""

    rule: Literal["latest", "majority", "overlap"] = Field(
        default="latest",
        description="latest: the last label, whoever sent it; majority: the class that most annotators say; overlap: "
        "that too, once `overlap` annotators have said one",
    )
    overlap: Annotated[int, Field(strict=True, ge=2, le=20)] | None = Field(
        default=None, description="with rule overlap: how many annotators are asked about each item"
    )

    @model_validator(mode="after")
    def _together(self) -> "Labeling":
        if (self.rule == "overlap") != (self.overlap is not None):
            raise ValueError('"overlap" (2 to 20) goes with "rule": "overlap", and only with it')
        return self


class ProjectCreate(Request):
    """What is to be labeled, and into which classes."""

    name: Name = Field(examples=["digits"])
    classes: Annotated[list[ClassName], Field(min_length=2, max_length=CLASSES_MAX), AfterValidator(_distinct)] = Field(
        examples=[["cat", "dog"]]
    )
    kernel: KernelOptions = KernelOptions()
    defaults: GivenDefaults = GivenDefaults()
    labeling: Labeling = Labeling()


class ClassesAdd(Request):
    """Classes to append: those there are keep their indices."""

    classes: Annotated[list[ClassName], Field(min_length=1, max_length=CLASSES_MAX), AfterValidator(_distinct)] = Field(
        examples=[["bird"]]
    )


class KernelStateInfo(Answer):
    """The kernel model in force: its window, and up to which label it is current."""

    id: str
    status: str
    window: int = Field(description="items in the window when it was prepared")
    outputs: int = Field(description="classes that the checkpoint has an output for; 0 stands in for the others'")
    labeled: int
    applied_seq: int
    ridge: float | None = Field(description="the ridge itself, in the kernel's units")
    jitter: float = Field(description="added to the factor's diagonal, beside the ridge, to make it positive definite")
    condition: float | None = Field(
        description="condition number of the matrix that the labels' equations are solved with, ridge and jitter "
        "included, when the state was prepared or last refreshed; null without labels"
    )
    changed_predictions: float | None = Field(
        description="share of candidates whose predicted class differs from the checkpoint's"
    )


AdviceCode = Literal[
    "upload_pool",
    "upload_checkpoint",
    "preparing",
    "few_labels",
    "retrain_labels",
    "retrain_changed",
    "retrain_classes",
    "stop",
    "pool_exhausted",
]


class Stopping(Answer):
    """Whether more labels still change anything, by the last ones."""

    labels: int = Field(description="over how many labels this looks back")
    changed_per_label: float = Field(
        description="share of candidates whose predicted class a label changed, on average"
    )
    stop_below: float = Field(description="the project's bound on that")
    accuracy_before: float | None = Field(description="leave-one-out accuracy before these labels")
    accuracy: float | None = Field(description="leave-one-out accuracy now")
    advised: bool


class Project(Answer):
    """A project and how it stands."""

    name: str
    classes: list[str]
    kernel: KernelOptions
    defaults: SuggestDefaults
    labeling: Labeling
    created_at: datetime
    input_shape: list[int] | None
    pool_version: int
    items: int = Field(description="all items, held-out ones among them")
    labels: int = Field(description="items that carry a label")
    skips: int = Field(description="items that are skipped")
    unlabeled: int = Field(description="items that may be suggested")
    held_out: int = Field(description="items that are predicted and never suggested")
    open_suggestions: int = Field(description="items that an annotator holds")
    label_seq: int = Field(description="the label log's last sequence number")
    checkpoint: str | None
    kernel_state: KernelStateInfo | None
    preparing: str | None = Field(description="the job that prepares the next kernel state, if one runs")
    leave_one_out_accuracy: float | None = Field(
        description="accuracy on each label when that label is left out, as of kernel_state.applied_seq"
    )
    held_out_accuracy: float | None = Field(
        description="accuracy of the kernel model on held-out items whose class is known; null without them"
    )
    labels_since_checkpoint: int | None = Field(
        description="labels that the checkpoint was not trained on, or that came after its upload; null without one"
    )
    advice: list[str]
    advice_codes: list[AdviceCode] = Field(description="one for each sentence of advice, to act on")
    stopping: Stopping | None = Field(description="null until there are enough labels under one kernel state")


class DeletedProject(Answer):
    """What a project had when it was deleted."""

    project: str
    items: int = Field(description="all items, held-out ones among them")
    labels: int = Field(description="items that carried a label")
    label_events: int = Field(description="entries of its label log")
    checkpoints: int
    connections: int = Field(description="connections to Label Studio, which have ended")
    jobs_cancelled: int = Field(description="jobs that waited, or that run and stop at their next step")


class ProjectList(Answer):
    """One page of projects, by name."""

    projects: list[Project]
    next: str | None = Field(description="pass as `after` for the next page")


class CurvePoint(Answer):
    """How the kernel model stood after the labels up to `label_seq`."""

    label_seq: int
    labels: int = Field(description="labeled items in the kernel model")
    leave_one_out_accuracy: float | None = Field(description="null without labels")
    changed_predictions: float | None = Field(
        description="share of candidates whose predicted class differs from the checkpoint's; null without candidates"
    )
    flipped: float | None = Field(
        description="share of candidates whose predicted class changed since the point before; null at a kernel "
        "state's first point, and without candidates"
    )
    held_out_accuracy: float | None = Field(
        description="accuracy on held-out items whose class is known, or on 2,000 of them drawn by seed; worked out in "
        "the background: null without them, and until then"
    )
    kernel: str
    checkpoint: str
    created_at: datetime


class Curve(Answer):
    """One page of the learning curve, in the order of the labels."""

    points: list[CurvePoint]
    next: int | None = Field(description="pass as `after_seq` for the next page")


class PoolFields(Request):
    """What is said of a pool's upload besides the file."""

    held_out: bool
    image_size: int | None = None
    attributes: bool = False


class PoolAdded(Answer):
    """What an upload added."""

    added: int
    items: int
    input_shape: list[int]
    pool_version: int
    job: str | None = Field(default=None, description="prepares the window anew, where a checkpoint is active")


class Item(Answer):
    """One item of a pool."""

    item: str
    position: int
    state: Literal["unlabeled", "labeled", "skipped", "held_out"]
    leased: bool
    label: str | None
    label_seq: int | None
    attributes: dict[str, Scalar]


class Opinion(Answer):
    """What one annotator says of an item: a class, or a skip."""

    annotator: str | None
    label: str | None
    skip: bool
    own: bool = Field(description="a skip that holds for this annotator only")
    seq: int = Field(description="the event with which they said so last")


class ItemDetail(Item):
    """One item with what everybody says of it, and how that came about."""

    opinions: list[Opinion] = Field(description="as they stand, in the order of their events")
    events: list[LabelEvent] = Field(description="the item's first 1,000 events, in order; GET /labels has all")


class ItemPage(Answer):
    """One page of items, in pool order."""

    items: list[Item]
    next: int | None = Field(description="pass as `after` for the next page")


class Content(Answer):
    """What people see of one item."""

    item: str
    kind: Literal["image", "text", "vector"]
    text: str | None = Field(default=None, description="of a text")
    image: str | None = Field(default=None, description="of an image: the path of its picture, which takes `size` too")
    values: list[float] | None = Field(
        default=None, description="of a vector: at most 256 of its numbers, evenly spread over all, six digits each"
    )
    names: list[str] | None = Field(
        default=None, description="of a vector of at most 256 numbers: what each is called, where an upload said so"
    )
    typical: list[float] | None = Field(
        default=None,
        description="of a vector of at most 256 numbers: where each lies in the pool, as the share of a sample that is "
        "below it, from 0 to 1",
    )
    length: int = Field(description="how many numbers the item has")


class Contents(Answer):
    """Contents of items, in the order asked."""

    contents: list[Content]


class AttributesRequest(Request):
    """What changes in the attributes of items: all of it is taken, or nothing."""

    attributes: Annotated[
        dict[ItemId, Changes], Field(max_length=_CHANGED_MAX), at_most(_CHANGED_MAX, "items at a time")
    ] = Field(
        description="by item: values by key, merged into what the item has; null removes a key",
        examples=[{"item-0": {"site": "north", "age": 41.5, "reviewed": True, "comment": None}}],
    )


class AttributesUpdated(Answer):
    """How many items were named."""

    updated: int
