"""Secrets of other systems that must be told again, such as their access tokens: encrypted where they are kept."""

import base64
import binascii
import secrets
from collections.abc import Sequence

KEY_BYTES = 32
# Before what is encrypted, so that what was kept without a key is known from it.
_MARK = "fernet:"


class VaultError(Exception):
    """What was kept cannot be read with the keys that are here; the text says what helps."""


class Vault:
    """Encrypts with the first of its keys, decrypts with any; without keys, secrets are kept as they are."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """`keys`: 32 random bytes each, as base64 in either alphabet. Raises ValueError for anything else."""
        self._box = None
        if checked := [_checked(key) for key in keys]:
            from cryptography.fernet import Fernet, MultiFernet  # what keeps no secrets does without

            self._box = MultiFernet([Fernet(key) for key in checked])

    @property
    def has_keys(self) -> bool:
        """Whether anything is encrypted."""
        return self._box is not None

    def seal(self, secret: str) -> str:
        """What to keep of it."""
        return secret if self._box is None else _MARK + self._box.encrypt(secret.encode()).decode()

    def unseal(self, kept: str) -> str:
        """The secret again. Raises VaultError where it was encrypted with a key that is not here."""
        if not kept.startswith(_MARK):
            return kept
        from cryptography.fernet import InvalidToken

        try:
            if self._box is not None:
                return self._box.decrypt(kept.removeprefix(_MARK)).decode()
        except InvalidToken:
            pass
        raise VaultError(
            "the access token was encrypted with a key that is not among LOOKAHEAD_SECRET_KEYS here: add that key, or "
            "disconnect and connect again"
        )


def new_key() -> str:
    """A key for a vault."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _checked(key: str) -> bytes:
    try:
        found = base64.b64decode(key.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != KEY_BYTES:
        raise ValueError(
            f"a key is {KEY_BYTES} random bytes in base64, as `openssl rand -base64 {KEY_BYTES}` prints them"
        )
    return base64.urlsafe_b64encode(found)
