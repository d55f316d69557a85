"""The tables: projects, pools, checkpoints, the label log, kernel states, suggestions, jobs and keys."""

from store.tables.access import ApiKey, AuditEntry, IdempotencyKey
from store.tables.base import Base, Json
from store.tables.jobs import Job
from store.tables.kernels import FactorRow, KernelPanel, KernelState, StateInsight
from store.tables.label_studio import LabelStudioAnnotation, LabelStudioConnection, LabelStudioTask
from store.tables.labels import Bandit, CurvePoint, LabelEvent, Opinion, Suggestion
from store.tables.projects import Checkpoint, Item, PoolChunk, Project

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Bandit",
    "Base",
    "Checkpoint",
    "CurvePoint",
    "FactorRow",
    "IdempotencyKey",
    "Item",
    "Job",
    "Json",
    "KernelPanel",
    "KernelState",
    "LabelEvent",
    "LabelStudioAnnotation",
    "LabelStudioConnection",
    "LabelStudioTask",
    "Opinion",
    "PoolChunk",
    "Project",
    "StateInsight",
    "Suggestion",
]
