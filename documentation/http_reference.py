"""The HTTP interface as pages, one per group of routes, from the OpenAPI schema that the service itself serves."""

from collections.abc import Iterator
from typing import Any

from service.app import create_app
from service.settings import ServiceSettings

Schema = dict[str, Any]

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
DEPTH_MAX = 3  # objects within objects that a table of fields still opens
TITLES = {
    "projects": "Projects",
    "pool": "Pools",
    "checkpoints": "Checkpoints and training",
    "contents": "What items are",
    "labels": "Labels",
    "suggestions": "Suggestions, predictions, leases",
    "jobs": "Jobs",
    "uploads": "Resumable uploads",
    "access": "Keys and audit",
    "label-studio": "Label Studio",
    "health": "Health and metrics",
}


def schema() -> Schema:
    """The OpenAPI document. Connects to nothing."""
    nowhere = ServiceSettings(
        database_url="postgresql+psycopg:///", redis_url="redis://127.0.0.1:1", artifacts_url="file:///nonexistent"
    )
    return create_app(nowhere).openapi()


def groups(document: Schema) -> dict[str, list[tuple[str, str, Schema]]]:
    """Routes as (method, path, operation) by their group, the groups that TITLES names first."""
    found: dict[str, list[tuple[str, str, Schema]]] = {name: [] for name in TITLES}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                group = (item[method].get("tags") or ["more"])[0].replace(" ", "-")
                found.setdefault(group, []).append((method.upper(), path, item[method]))
    return {name: routes for name, routes in found.items() if routes}


def title(group: str) -> str:
    """What a group of routes is called on the site."""
    return TITLES.get(group, group.replace("-", " ").replace("_", " ").capitalize())


def index(document: Schema) -> str:
    """Every route with its first sentence, as tables by group."""
    parts = []
    for name, routes in groups(document).items():
        parts.append(f"## [{title(name)}](http/{name}.md)\n\n| route | |\n|---|---|")
        for method, path, operation in routes:
            first = _sentence(operation.get("description") or operation["summary"])
            parts.append(f"| [`{method} {path}`](http/{name}.md#{anchor(method, path)}) | {_cell(first)} |")
        parts.append("")
    return "\n".join(parts)


def page(document: Schema, group: str) -> str:
    """One group's routes: parameters, bodies, answers, problems."""
    parts = [f"# {title(group)}\n"]
    for method, path, operation in groups(document)[group]:
        parts += list(_route(document, method, path, operation))
    return "\n".join(parts)


def anchor(method: str, path: str) -> str:
    """The name of a route's heading, as links have it."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in f"{method}{path}".lower())
    return "-".join(part for part in kept.split("-") if part)


def _route(document: Schema, method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"## `{method} {path}` {{ #{anchor(method, path)} }}\n"
    yield f"{operation.get('description') or operation['summary']}\n"
    if scopes := operation.get("x-scopes"):
        named = " or ".join(f"`{scope}`" for scope in scopes)
        yield f"With keys on it needs the [scope](../../access.md#scopes) {named}.\n"
    yield from _parameters(document, operation.get("parameters", []))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"**Body**, `{kind}`\n"
        yield from _fields_table(document, content.get("schema", {}), "needed")
    yield from _answers(document, operation["responses"])


def _parameters(document: Schema, parameters: list[Schema]) -> Iterator[str]:
    if not parameters:
        return
    yield "**Parameters**\n\n| name | in | type | |\n|---|---|---|---|"
    for one in parameters:
        said = [one.get("description") or "", "**needed**" if one.get("required") and one["in"] != "path" else ""]
        kind = _kind(document, one.get("schema", {}))
        yield f"| `{parameter_name(one)}` | {one['in']} | {_cell(kind)} | {_cell('; '.join(filter(None, said)))} |"
    yield ""


def parameter_name(parameter: Schema) -> str:
    """As it is usually written: headers with capitals."""
    name: str = parameter["name"]
    return "-".join(part.capitalize() for part in name.split("-")) if parameter["in"] == "header" else name


def _answers(document: Schema, responses: Schema) -> Iterator[str]:
    problems = []
    for status, response in responses.items():
        contents: Schema = response.get("content", {})
        if "application/problem+json" in contents:
            problems.append(f"`{status}`")
            continue
        said = response.get("description", "")
        said = "" if said == "Successful Response" else f": {said}"
        kinds = ", ".join(f"`{kind}`" for kind in contents)
        yield f"**Answer {status}**{said}{f', {kinds}' if kinds else ''}\n"
        for content in contents.values():
            yield from _fields_table(document, content.get("schema", {}), "always there")
    if problems:
        yield f"**Problems**: {', '.join(problems)}, each with a [code](../../interface.md#problems) and what to do.\n"


def _fields_table(document: Schema, given: Schema, required_word: str) -> Iterator[str]:
    rows = list(_fields(document, given, "", 0))
    if not rows:
        if (kind := _kind(document, given)) not in ("", "anything", "object"):
            yield f"{kind[:1].upper()}{kind[1:]}.\n"
        return
    yield "| field | type | |\n|---|---|---|"
    for name, kind, said, required in rows:
        note = "; ".join(filter(None, [said, f"**{required_word}**" if required and required_word == "needed" else ""]))
        yield f"| `{name}` | {_cell(kind)} | {_cell(note)} |"
    yield ""


def _fields(document: Schema, given: Schema, prefix: str, depth: int) -> Iterator[tuple[str, str, str, bool]]:
    described = _resolve(document, given)
    for name, field in described.get("properties", {}).items():
        said = field.get("description", "") or _resolve(document, field).get("description", "")
        default = field.get("default")
        if isinstance(default, str | int | float | bool):
            said = f"{said}; default `{default}`" if said else f"default `{default}`"
        yield f"{prefix}{name}", _kind(document, field), said, name in described.get("required", [])
        inner, step = _inner(document, field)
        if inner is not None and depth + 1 < DEPTH_MAX:
            yield from _fields(document, inner, f"{prefix}{name}{step}.", depth + 1)


def _inner(document: Schema, field: Schema) -> tuple[Schema | None, str]:
    """The object that a field holds, itself or in a list, and how its name goes on."""
    for option in [field, *field.get("anyOf", [])]:
        found = _resolve(document, option)
        if found.get("properties"):
            return found, ""
        if found.get("type") == "array" and _resolve(document, found.get("items", {})).get("properties"):
            return found["items"], "[]"
    return None, ""


def _resolve(document: Schema, given: Schema) -> Schema:
    while "$ref" in given:
        found: Schema = document["components"]["schemas"][given["$ref"].rsplit("/", 1)[1]]
        given = found
    return given


def _kind(document: Schema, given: Schema) -> str:
    """A type in words."""
    found = _resolve(document, given)
    if "anyOf" in found:
        words = [_kind(document, option) for option in found["anyOf"]]
        return " or ".join(dict.fromkeys(words))
    if "enum" in found:
        return "one of " + ", ".join(f"`{value}`" for value in found["enum"])
    if "const" in found:
        return f"`{found['const']}`"
    kind = found.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(document, found.get('items', {}))}{_bounds(found, 'minItems', 'maxItems', ' entries')}"
    if kind == "string":
        word = {"binary": "file", "date-time": "time"}.get(found.get("format", ""), "text")
        return f"{word}{_bounds(found, 'minLength', 'maxLength', ' characters')}"
    if kind in ("integer", "number"):
        return f"{kind}{_bounds(found, 'minimum', 'maximum', '')}"
    return {"boolean": "true or false", "null": "null"}.get(kind, str(kind))


def _bounds(found: Schema, low: str, high: str, unit: str) -> str:
    least, most = found.get(low), found.get(high)
    if most is None:
        return "" if not least else f", at least {least:,g}{unit}"
    return f", up to {most:,.10g}{unit}" if not least else f", {least:,g} to {most:,.10g}{unit}"


def _sentence(text: str) -> str:
    first = text.strip().split("\n\n")[0].replace("\n", " ")
    return first.split(". ")[0].rstrip(".")


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")
