"""The service's settings, from the environment. Read in the app factory only."""

from typing import Literal

from pydantic import Field

from store.settings import StoreSettings

MIB = 1 << 20


class ServiceSettings(StoreSettings):
    """Addresses, keys and the limits that uploads are held to before anything is read."""

    lookahead_auth: Literal["on", "off"] = Field(default="off", description="on: every request needs a bearer key")
    lookahead_service_processes: int = Field(default=1, ge=1, le=64, description="processes that serve HTTP")
    max_upload_bytes: int = Field(default=4096 * MIB, description="largest pool or checkpoint upload")
    max_body_bytes: int = Field(default=32 * MIB, description="largest body of any other request")
    max_items: int = Field(default=5_000_000, description="most items one upload may add")
    max_expansion: int = Field(default=200, description="an archive member may expand to so many times its size")
