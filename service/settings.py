"""The service's settings, from the environment. Read in the app factory only."""

from typing import Literal

from pydantic import Field

from store.settings import StoreSettings

MIB = 1 << 20


class ServiceSettings(StoreSettings):
    """Addresses, keys and the limits that uploads are held to before anything is read."""

    lookahead_auth: Literal["on", "off"] = Field(default="off", description="on: every request needs a bearer key")
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
