"""The service's settings, from the environment. Read in the app factory only."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from store.settings import StoreSettings

MIB = 1 << 20
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?\Z|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?\Z")


class ServiceSettings(StoreSettings):
    """Addresses, keys and the limits that uploads are held to before anything is read."""

    lookahead_auth: Literal["on", "off"] = Field(default="off", description="on: every request needs a bearer key")
    lookahead_cors_origins: str = Field(
        default="", description="comma-separated origins of pages that may call the service; empty: none"
    )
    lookahead_trusted_proxies: str = Field(
        default="", description="comma-separated addresses or networks whose X-Forwarded-For and -Proto are believed"
    )
    lookahead_failures_per_minute: int = Field(
        default=120, ge=0, description="requests without a valid key from one address before it is refused; 0: any"
    )
    lookahead_service_processes: int = Field(default=1, ge=1, le=64, description="processes that serve HTTP")
    lookahead_event_streams: int = Field(
        default=200, ge=1, description="most streams of live events of a service process; a key may hold half of them"
    )
    max_upload_bytes: int = Field(default=4096 * MIB, description="largest pool or checkpoint upload")
    max_body_bytes: int = Field(default=32 * MIB, description="largest body of any other request")
    max_items: int = Field(default=5_000_000, description="most items one upload may add")
    uploads_folder: str = Field(
        default="", description="where resumable uploads grow; default: .uploads in the artifacts' folder"
    )
    upload_expiry_hours: float = Field(default=24.0, gt=0, description="a resumable upload left alone is forgotten")
    max_open_uploads: int = Field(default=100, description="most resumable uploads at a time")
    max_open_upload_bytes: int = Field(default=16 * 1024 * MIB, description="most bytes they may come to together")
    max_expansion: int = Field(default=200, description="an archive member may expand to so many times its size")

    max_picture_pixels: int = Field(default=50_000_000, ge=1, description="most pixels of a picture in an archive")
    max_decoder_bytes: int = Field(
        default=2048 * MIB, ge=512 * MIB, description="memory for decoding one upload of pictures or of a table"
    )

    @field_validator("lookahead_cors_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        for origin in listed(text):
            if origin != "*" and not _ORIGIN.match(origin):
                raise ValueError(f"{origin!r} is no origin such as https://labels.example.org")
        return text

    @model_validator(mode="after")
    def _not_everybody(self) -> Self:
        if self.lookahead_auth == "off" and "*" in listed(self.lookahead_cors_origins):
            raise ValueError("without keys, every page of the web could use the service: name the origins")
        return self


def listed(text: str) -> list[str]:
    """The parts of a comma-separated setting."""
    return [part.strip() for part in text.split(",") if part.strip()]
