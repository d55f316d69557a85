"""Where the lasting parts live. Read in the service's app factory and the worker's main, and nowhere else."""

import sys
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """The three addresses every process needs; `lookahead up` sets them to its embedded servers."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False)

    database_url: str = Field(description="PostgreSQL, for example postgresql://user@host/lookahead")
    redis_url: str = Field(description="Redis or Valkey, for example redis://host:6379/0")
    artifacts_url: str = Field(description="A folder (file:///srv/artifacts) or a bucket (s3://bucket/prefix)")


Settings = TypeVar("Settings", bound=StoreSettings)


def from_environment(kind: type[Settings]) -> Settings:
    """The settings, or exit status 2 with a line for each variable that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        for entry in error.errors():
            name = str(entry["loc"][0])
            meaning = kind.model_fields[name].description if name in kind.model_fields else ""
            sys.stderr.write(f"{name.upper()}: {entry['msg']}. It says: {meaning}.\n")
        sys.stderr.write("`lookahead up` needs none of them: it brings its own servers.\n")
        raise SystemExit(2) from None
