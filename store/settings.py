"""Where the lasting parts live. Read in the service's app factory and the worker's main, and nowhere else."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """The three addresses every process needs; `lookahead up` sets them to its embedded servers."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False)

    database_url: str = Field(description="PostgreSQL, for example postgresql://user@host/lookahead")
    redis_url: str = Field(description="Redis or Valkey, for example redis://host:6379/0")
    artifacts_url: str = Field(description="A folder (file:///srv/artifacts) or a bucket (s3://bucket/prefix)")
