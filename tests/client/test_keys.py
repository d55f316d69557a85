"""Keys and the audit log through the SDK."""

import pytest

from client.errors import ApiError
from client.sdk import Client


def test_keys_are_made_replaced_and_ended(client: Client) -> None:
    made = client.create_key("tool", ["label", "suggest"], projects=["digits"], requests_per_minute=60, expires_days=3)
    assert made.key.startswith(f"lk_{made.prefix}_")
    assert (made.scopes, made.projects, made.requests_per_minute) == (["label", "suggest"], ["digits"], 60)
    new = client.rotate_key(made.prefix, grace_seconds=0)
    assert (new.projects, new.expires_at) == (["digits"], made.expires_at)
    listed = list(client.keys())
    states = {key.prefix: (key.state, key.replaced_by) for key in listed}
    assert states[made.prefix] == ("expired", new.prefix)
    assert states[new.prefix] == ("live", None)
    assert client.revoke_key(new.prefix).state == client.revoke_key(new.prefix).state == "revoked"
    with pytest.raises(ApiError) as refused:
        client.rotate_key(new.prefix)
    assert refused.value.code == "key_ended"


def test_the_audit_has_what_was_changed(client: Client) -> None:
    client.create_project("audited", ["a", "b"])
    (entry,) = client.audit("audited")
    assert (entry.method, entry.path, entry.status, entry.client) == ("POST", "/projects", 201, "127.0.0.1")
    assert entry.id in {found.id for found in client.audit()}
    assert list(client.audit("audited", after=entry.id)) == []
