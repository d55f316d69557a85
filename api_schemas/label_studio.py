"""Label Studio: connections to its projects, and what its ML backends answer."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool, StringConstraints

from api_schemas.common import Answer, Name, Request, Tag

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=500)]
Prefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]


class ConnectionCreate(Request):
    """A project of Label Studio to be labeled by."""

    project: Name = Field(description="the project of ours, whose classes are the control's choices")
    url: Url = Field(description="where Label Studio answers", examples=["http://127.0.0.1:8080"])
    token: Annotated[SecretStr, Field(min_length=8, max_length=4000)] = Field(
        description="an access token of Label Studio, legacy or personal; never shown again"
    )
    label_studio_project: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    control: Tag | None = Field(default=None, description="name of the Choices control, if there are several")
    add_tasks: StrictBool = Field(
        default=True, description="make items of tasks that the pool does not know, with our own vectors of their texts"
    )


class ConnectionSync(Request):
    """What a connection is to do now."""

    everything: StrictBool = Field(default=True, description="compare all tasks, not only what changed since the last")
    order: StrictBool = Field(default=True, description="make the order anew afterwards")


class Connection(Answer):
    """A connected project of Label Studio."""

    id: Prefix
    project: str
    url: str
    label_studio_project: int
    control: str
    data_key: str = Field(description="the field of a task's data that holds its text or picture")
    kind: Literal["text", "image"]
    add_tasks: bool
    tasks: int
    items: int = Field(description="tasks that are items of the pool")
    annotations: int
    model_version: str | None = Field(description="of the predictions whose order is in force")
    order_seq: int | None = Field(description="the last label that the order knows")
    synced_at: datetime | None
    problem: str | None = Field(description="what went wrong last")
    created_at: datetime


class NewConnection(Connection):
    """The answer to its making: only this one has the backend's address, whose token is a secret."""

    backend: str = Field(description="path of the ML backend, to be given to Label Studio with the service's address")


class EndedConnection(Connection):
    """A connection that is no more."""

    left: str | None = Field(description="what could not be taken away in Label Studio, and why")


class ConnectionList(Answer):
    """All connections that the caller sees."""

    connections: list[Connection]


class BackendHealth(Answer):
    """The backend answers."""

    status: Literal["UP"] = "UP"
    model_class: str = "Lookahead"

    model_config = ConfigDict(protected_namespaces=())


class BackendSetup(Answer):
    """The version of the predictions in force."""

    model_version: str

    model_config = ConfigDict(protected_namespaces=())


class BackendVersions(Answer):
    """Versions that there are."""

    versions: list[str]


class BackendPrediction(BaseModel):
    """A pre-annotation; without a result it says nothing."""

    result: list[dict[str, Any]]
    score: float
    model_version: str

    model_config = ConfigDict(protected_namespaces=())


class BackendPredictions(Answer):
    """One prediction per task, in the order asked."""

    results: list[BackendPrediction]


class BackendHeard(Answer):
    """The message was taken in, or is of no concern."""

    status: Literal["ok"] = "ok"


class BackendJob(Answer):
    """How the last training stands."""

    job_status: Literal["queued", "running", "finished", "failed", "none"]
