"""What is kept says nothing without the key, and everything with it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.vault import KEY_BYTES, Vault, VaultError, new_key

OLD, NEW = new_key(), new_key()


@given(st.text())
def test_what_goes_in_comes_out(secret: str) -> None:
    vault = Vault([NEW])
    kept = vault.seal(secret)
    assert vault.unseal(kept) == secret
    assert kept != vault.seal(secret)
    assert len(secret) < 4 or secret not in kept


def test_keys_follow_one_another() -> None:
    plain, old, both = Vault().seal("token"), Vault([OLD]).seal("token"), Vault([NEW, OLD])
    assert plain == "token"
    assert both.unseal(plain) == both.unseal(old) == "token"
    assert Vault([NEW]).unseal(both.seal("token")) == "token"
    for without in (Vault(), Vault([NEW])):
        with pytest.raises(VaultError, match="LOOKAHEAD_SECRET_KEYS"):
            without.unseal(old)
    with pytest.raises(VaultError):
        both.unseal(old[:-2] + ("A" if old[-2] != "A" else "B") + old[-1])


def test_both_alphabets_of_base64() -> None:
    raw = bytes(range(256 - KEY_BYTES, 256))  # whose base64 has a character of each
    kept = Vault([base64.b64encode(raw).decode()]).seal("token")
    assert b"/" in base64.b64encode(raw)
    assert Vault([base64.urlsafe_b64encode(raw).decode()]).unseal(kept) == "token"


@pytest.mark.parametrize("wrong", ["hunter2", "A" * 39, "A" * 88, "A" * 43 + "!", "\x00" * 44, "ß" * 44])
def test_no_keys(wrong: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32"):
        Vault([wrong])
