"""Checkpoints: an architecture's name and options; the weights travel beside it as safetensors."""

from typing import Literal

from pydantic import Field

from api_schemas.common import Json, KernelOptions, Request


class Manifest(Request):
    """What the weights are weights of."""

    architecture: str = Field(max_length=100, examples=["mlp"])
    options: Json = Field(default_factory=dict, examples=[{"in_features": 64, "hidden": [256, 256]}])
    loss: Literal["squared", "cross_entropy"] | None = None
    kernel: KernelOptions | None = Field(default=None, description="overrides the project's")
