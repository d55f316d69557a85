"""Which scope each route asks for: the whole table, and how a request finds its line.

A route that is missing here is for admins of all projects, and a test fails until it is added.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from re import Pattern
from typing import Any

from starlette.routing import compile_path

from api_schemas.keys import Scope
from service.caller import SCOPES


@dataclass(frozen=True)
class Rule:
    """What a route asks of a key: one of `scopes`, and with `everywhere` one for all projects.

    Requests that change something are audited, except where another log keeps them.
    """

    scopes: frozenset[Scope] = field(default=frozenset())
    everywhere: bool = False
    audited: bool = True
    open: bool = False

    def words(self) -> str:
        """The scopes for people."""
        return "none" if self.open else " or ".join(scope for scope in SCOPES if scope in self.scopes)


def _needs(*scopes: Scope, everywhere: bool = False, audited: bool = True) -> Rule:
    return Rule(frozenset(scopes), everywhere, audited)


OPEN = Rule(open=True)
# Each look at a task makes some, each label one, which the label log keeps.
_BACKEND = Rule(open=True, audited=False)
ANY = _needs("read", "label", "suggest")
READ = _needs("read")
ADMIN = _needs("admin")
UNDECLARED = _needs("admin", everywhere=True)

BACKEND = (
    ("GET", "health"),
    ("POST", "setup"),
    ("POST", "predict"),
    ("POST", "webhook"),
    ("GET", "versions"),
    ("POST", "job_status"),
)

RULES: Mapping[tuple[str, str], Rule] = {
    ("GET", "/"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/annotate"): OPEN,
    ("GET", "/assets/{part}"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): _needs("read", everywhere=True),
    ("GET", "/strategies"): ANY,
    ("GET", "/projects"): READ,
    ("POST", "/projects"): ADMIN,
    ("GET", "/projects/{name}"): READ,
    ("DELETE", "/projects/{name}"): ADMIN,
    ("POST", "/projects/{name}/pool"): ADMIN,
    ("PATCH", "/projects/{name}/labeling"): ADMIN,
    ("POST", "/projects/{name}/classes"): ADMIN,
    ("GET", "/projects/{name}/curve"): READ,
    ("GET", "/projects/{name}/diagnostics"): READ,
    ("POST", "/projects/{name}/held-out-labels"): ADMIN,
    ("GET", "/projects/{name}/items"): READ,
    ("GET", "/projects/{name}/items/{item:path}"): READ,
    ("PATCH", "/projects/{name}/items"): ADMIN,
    # Whoever is given items to label has to see them.
    ("GET", "/projects/{name}/contents"): _needs("read", "suggest"),
    ("GET", "/projects/{name}/image"): _needs("read", "suggest"),
    ("POST", "/projects/{name}/checkpoints"): ADMIN,
    ("POST", "/projects/{name}/train"): ADMIN,
    ("GET", "/projects/{name}/predictions"): READ,
    # What the protocol for uploads is like; whose they are is a matter of the key that began them.
    ("OPTIONS", "/uploads"): OPEN,
    ("OPTIONS", "/uploads/{upload_id}"): OPEN,
    ("POST", "/uploads"): ADMIN,
    ("HEAD", "/uploads/{upload_id}"): ADMIN,
    ("PATCH", "/uploads/{upload_id}"): _needs("admin", audited=False),
    ("DELETE", "/uploads/{upload_id}"): ADMIN,
    # The label log and the jobs' own records say who did what.
    ("POST", "/label"): _needs("label", audited=False),
    ("POST", "/labels"): _needs("label", audited=False),
    ("POST", "/suggest"): _needs("suggest", audited=False),
    ("GET", "/labels"): READ,
    ("POST", "/leases/renew"): _needs("suggest", audited=False),
    ("POST", "/leases/release"): _needs("suggest", audited=False),
    ("GET", "/projects/{name}/leases"): READ,
    # A suggestion that takes longer is answered with a job, and its asker follows it.
    ("GET", "/jobs"): READ,
    ("GET", "/jobs/{job_id}"): _needs("read", "suggest"),
    ("GET", "/jobs/{job_id}/events"): _needs("read", "suggest"),
    ("POST", "/jobs/{job_id}/cancel"): ADMIN,
    ("GET", "/workers"): READ,
    ("GET", "/events"): READ,
    ("POST", "/keys"): ADMIN,
    ("GET", "/keys"): ADMIN,
    ("POST", "/keys/{prefix}/rotate"): ADMIN,
    ("DELETE", "/keys/{prefix}"): ADMIN,
    ("GET", "/audit"): ADMIN,
    ("GET", "/label-studio"): ADMIN,
    ("POST", "/label-studio"): ADMIN,
    ("POST", "/label-studio/{connection}/sync"): ADMIN,
    ("DELETE", "/label-studio/{connection}"): ADMIN,
    # Label Studio's own protocol: the token in the address is the credential, and the route checks it.
    **{(method, f"/label-studio/{{token}}/{name}{slash}"): _BACKEND for method, name in BACKEND for slash in ("", "/")},
}

Found = tuple[Rule, str, dict[str, str]]


class Table:
    """Finds the rule, the template and the path parameters of a request."""

    def __init__(self, rules: Mapping[tuple[str, str], Rule] = RULES) -> None:
        self._fixed: dict[tuple[str, str], Found] = {}
        self._patterns: dict[str, list[tuple[Pattern[str], str, Rule]]] = {}
        for (method, template), rule in rules.items():
            if "{" not in template:
                self._fixed[method, template] = (rule, template, {})
            else:
                pattern = compile_path(template)[0]
                self._patterns.setdefault(method, []).append((pattern, template, rule))

    def find(self, method: str, path: str) -> Found | None:
        """None for what has no line."""
        found = self._find(method, path)
        return self._find("GET", path) if found is None and method == "HEAD" else found

    def _find(self, method: str, path: str) -> Found | None:
        if (fixed := self._fixed.get((method, path))) is not None:
            return fixed
        for pattern, template, rule in self._patterns.get(method, ()):
            if matched := pattern.match(path):
                return rule, template, matched.groupdict()
        return None


def annotate(schema: dict[str, Any], *, keys: bool) -> dict[str, Any]:
    """The OpenAPI schema with the scope of each operation, and how to send a key where keys are on."""
    if keys:
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "http", "scheme": "bearer", "description": "an API key"}
    for rule, operation in _operations(schema):
        operation["x-scopes"] = sorted(rule.scopes)
        if keys and not rule.open:
            operation["security"] = [{"key": []}]
    return schema


def _operations(schema: dict[str, Any]) -> Iterator[tuple[Rule, dict[str, Any]]]:
    for template, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield RULES.get((method.upper(), template), UNDECLARED), operation
