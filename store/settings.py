"""Where the lasting parts live. Read in the service's app factory and the worker's main, and nowhere else."""

import sys
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.vault import Vault


class StoreSettings(BaseSettings):
    """What every process needs: addresses, which `lookahead up` sets to its embedded servers, keys, and logging."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False)

    database_url: str = Field(description="PostgreSQL, for example postgresql://user@host/lookahead")
    redis_url: str = Field(description="Redis or Valkey, for example redis://host:6379/0")
    artifacts_url: str = Field(description="A folder (file:///srv/artifacts) or a bucket (s3://bucket/prefix)")
    lookahead_log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json: a JSON object per line; console: for people; auto: console on a terminal"
    )
    lookahead_log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least important of our own lines to be written"
    )
    lookahead_tracing: Literal["off", "otlp"] = Field(
        default="off", description="otlp: send OpenTelemetry traces to where the OTEL_* variables say"
    )
    lookahead_private_addresses: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="whether addresses that we are told to ask, such as Label Studio's, may be private ones; auto: "
        "where keys are off",
    )
    lookahead_secret_keys: SecretStr = Field(
        default=SecretStr(""),
        description="comma-separated keys that other systems' access tokens are encrypted with in the database, each "
        "as `openssl rand -base64 32` prints it: the first encrypts, all decrypt; empty: they are kept as they are",
    )

    @field_validator("lookahead_secret_keys")
    @classmethod
    def _are_keys(cls, keys: SecretStr) -> SecretStr:
        _vault(keys)
        return keys

    @property
    def vault(self) -> Vault:
        """What keeps other systems' secrets."""
        return _vault(self.lookahead_secret_keys)


def _vault(keys: SecretStr) -> Vault:
    return Vault([key.strip() for key in keys.get_secret_value().split(",") if key.strip()])


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
