"""A labeling configuration, read as far as one choice per text or image goes."""

from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, ParseError, XMLParser

from studio.errors import ConfigError
from studio.payloads import NAME_MAX, is_name

CONFIG_MAX = 1 << 20  # characters
_WORDS_MAX = 2000
Kind = Literal["text", "image"]
_OBJECTS: dict[str, Kind] = {"text": "text", "image": "image"}


@dataclass(frozen=True)
class Control:
    """One `Choices` control over one `Text` or `Image`."""

    from_name: str
    to_name: str
    kind: Kind
    data_key: str  # the field of a task's data that holds the text, or the picture's address
    choices: tuple[str, ...]


def control_of(config: str, name: str | None = None) -> Control:
    """The control of this name, or the only one. Raises ConfigError, which says what is there."""
    found, others = controls(config)
    if name is not None:
        found = [control for control in found if control.from_name == name]
    if len(found) == 1:
        return found[0]
    words = "; ".join([*(_worded(control) for control in controls(config)[0]), *others])
    there = words[:_WORDS_MAX] or "no control at all"
    if len(found) > 1:
        raise ConfigError(f"several controls could be served, say which by --control: {there}")
    wanted = "no single-choice <Choices> over <Text> or <Image>" if name is None else f"no such control {name!r}"
    raise ConfigError(f"the labeling configuration has {wanted}; there is: {there}")


def controls(config: str) -> tuple[list[Control], list[str]]:
    """(controls that we can serve, words on those that we cannot). Raises ConfigError for what is no configuration."""
    elements = _elements(config)
    objects = {element.get("name"): element for element in elements if element.get("value") and element.get("name")}
    usable, others = [], []
    for element in elements:
        if not element.get("toName"):
            continue
        reason = _unfit(element, objects)
        if reason is None:
            usable.append(_control(element, objects[element.get("toName")]))
        else:
            others.append(f"<{element.tag} name={element.get('name')!r}> ({reason})")
    return usable, others


def _elements(config: str) -> list[Element]:
    # Definitions of entities are of no use here, and can make much of little.
    if len(config) > CONFIG_MAX or "<!" in config.replace("<!--", ""):
        raise ConfigError("the labeling configuration is too long or defines entities")
    parser = XMLParser()  # noqa: S314 - without entities, checked above, and bounded
    try:
        parser.feed(config)
        return list(parser.close().iter())
    except (ParseError, UnicodeError) as error:
        raise ConfigError(f"the labeling configuration is no XML: {error}") from error


def _unfit(element: Element, objects: dict[str | None, Element]) -> str | None:
    """Why a control cannot be served; None if it can."""
    target = objects.get(element.get("toName"))
    if element.tag.lower() != "choices":
        return "only Choices are served"
    if target is None or target.tag.lower() not in _OBJECTS:
        return "over neither a Text nor an Image"
    if not (target.get("value") or "").startswith("$"):
        return "its object does not name a field of the task"
    if (element.get("choice") or "single").lower() == "multiple" or element.get("perRegion") == "true":
        return "takes several choices per task, and one class per item is what we know"
    if not all(is_name(choice) for choice in _choices(element)):
        return f"has a choice of more than {NAME_MAX} characters, or with control characters"
    return None if _choices(element) else "lists no choices"


def _control(element: Element, target: Element) -> Control:
    return Control(
        from_name=element.get("name") or "",
        to_name=element.get("toName") or "",
        kind=_OBJECTS[target.tag.lower()],
        data_key=(target.get("value") or "")[1:],
        choices=_choices(element),
    )


def _choices(element: Element) -> tuple[str, ...]:
    # Results name a choice by its alias where it has one.
    named = (choice.get("alias") or choice.get("value") for choice in element.iter() if choice.tag.lower() == "choice")
    return tuple(dict.fromkeys(name for name in named if name))


def _worded(control: Control) -> str:
    return f"<Choices name={control.from_name!r}> over <{control.kind.capitalize()}> ${control.data_key}"
