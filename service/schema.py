"""What the framework leaves out of the OpenAPI schema: models that are only referred to by hand."""

import re
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from api_schemas.common import Problem
from api_schemas.diagnostics import HeldOutLabels
from api_schemas.events import ProjectEvent
from api_schemas.labels import LabelsRequest

_REFERRED_TO: tuple[type[BaseModel], ...] = (Problem, LabelsRequest, HeldOutLabels, ProjectEvent)


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every model that it refers to."""
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in _REFERRED_TO:
        described = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(described.pop("$defs", {}))
        components[model.__name__] = described
    return schema


def allowed_methods(app: FastAPI, path: str) -> str:
    """Every method of a path, for the Allow header: the framework names those of one of its routes."""
    methods: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path):
            methods.update(name.upper() for name in operations)
    return ", ".join(sorted(methods))
