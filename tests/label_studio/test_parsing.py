"""Configurations, addresses, and the interface's own limits."""

import ipaddress
import socket
from typing import Any

import httpx
import pytest

from studio import addresses
from studio.api import LabelStudio
from studio.config import control_of
from studio.errors import AddressRefusedError, ConfigError, RefusedError
from studio.items import PictureError, pixels
from tests.label_studio.fake import TEXT_CONFIG, TOKEN, FakeLabelStudio

TWO = """<View><Text name="t" value="$text"/><Image name="i" value="$picture"/>
<Choices name="mood" toName="t"><Choice value="good" alias="g"/><Choice value="bad"/></Choices>
<Choices name="what" toName="i" choice="single"><Choice value="cat"/><Choice value="dog"/></Choices>
<Choices name="many" toName="t" choice="multiple"><Choice value="x"/></Choices>
<RectangleLabels name="boxes" toName="i"><Label value="x"/></RectangleLabels></View>"""


def test_the_control_is_found_by_name_or_because_it_is_the_only_one() -> None:
    only = control_of(TEXT_CONFIG)
    assert (only.from_name, only.to_name, only.kind, only.data_key) == ("cls", "txt", "text", "text")
    assert only.choices == ("pos", "neg")
    assert control_of(TWO, "mood").choices == ("g", "bad")
    assert control_of(TWO, "what").kind == "image"
    assert control_of(TWO, "what").data_key == "picture"


@pytest.mark.parametrize(
    ("config", "name", "words"),
    [
        (TWO, None, ["--control", "'mood'", "'what'", "'boxes'", "several choices per task"]),
        (TWO, "many", ["no such control 'many'", "'mood'"]),
        ("<View/>", None, ["no control at all"]),
        ("nonsense", None, ["no XML"]),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><View>&a;</View>', None, ["entities"]),
        ('<View><Text name="t" value="$x"/><Choices name="c" toName="t"/></View>', None, ["lists no choices"]),
    ],
)
def test_errors_say_what_is_there(config: str, name: str | None, words: list[str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        control_of(config, name)
    assert all(word in str(refusal.value) for word in words), refusal.value


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.215.14", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("100.64.0.1", False, True),
        ("::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_which_addresses_are_asked(address: str, public: bool, private: bool) -> None:
    for allowed, wanted in ((False, public), (True, private)):
        if wanted:
            found = addresses.checked(address, 80, private_allowed=allowed)
            assert ipaddress.ip_address(found) == ipaddress.ip_address(address)
        else:
            with pytest.raises(AddressRefusedError):
                addresses.checked(address, 80, private_allowed=allowed)


def test_a_name_with_one_private_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (where, 80)) for where in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(AddressRefusedError, match=r"labels\.example\.org is at 10\.0\.0\.1"):
        addresses.checked("labels.example.org", 80, private_allowed=False)


def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[httpx.Request] = []

    def handle(_: Any, request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"id": 1})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("93.184.215.14", 443))])
    with LabelStudio("https://labels.example.org/ls", TOKEN, 1, private_allowed=False) as studio:
        assert studio.project().id == 1
    assert sent[0].url == "https://93.184.215.14/ls/api/projects/1/"
    assert sent[0].headers["host"] == "labels.example.org"
    assert sent[0].extensions["sni_hostname"] == "labels.example.org"


def test_redirects_are_not_followed_and_answers_are_bounded(
    studio: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LabelStudio(studio.url, TOKEN, 1, patient=False) as server:
        studio.fail_with = [302]
        with pytest.raises(RefusedError, match="redirects elsewhere"):
            server.project()
        studio.pictures["/data/big.png"] = b"x" * 1001
        assert len(server.picture("/data/big.png", 1001)) == 1001
        with pytest.raises(RefusedError, match="too much"):
            server.picture("/data/big.png", 1000)
        for elsewhere in ("http://elsewhere.example/x.png", "//elsewhere.example/x.png", f"{studio.url}.example/x"):
            with pytest.raises(RefusedError, match="nothing elsewhere"):
                server.picture(elsewhere, 1000)


def test_a_personal_token_makes_access_tokens() -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, request.headers.get("authorization")))
        if request.url.path == "/api/token/refresh":
            return httpx.Response(200, json={"access": f"access-{len(asked)}"})
        stale = request.headers["authorization"] == "Bearer access-1" and len(asked) > 2
        return httpx.Response(401 if stale else 200, json={"id": 1})

    with LabelStudio("http://s", "a.b.c", 1, transport=httpx.MockTransport(answer)) as studio:
        studio.project()
        studio.project()
    assert [path for path, _ in asked].count("/api/token/refresh") == 2
    assert asked[-1] == ("/api/projects/1/", "Bearer access-4")


def test_what_is_no_picture() -> None:
    with pytest.raises(PictureError):
        pixels(b"\x89PNG\r\n\x1a\n nonsense", 32)
