"""Formulas of costs: what they may say, and that every strategy's says something sensible."""

import re
from itertools import pairwise

import pytest

from store import strategies
from store.costs import evaluate, names
from store.strategies import STRATEGIES, TILE_BYTES, Strategy

EVERY = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=lambda strategy: strategy.name)
# As the module documents them: "N items", "C classes", "tile, the bytes".
DOCUMENTED = {"N", "n", "m", "C", "P", "D", "b", "k", "s", "tile"}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("2 + 3*4", 14.0),
        ("(2 + 3)*4", 20.0),
        ("20 - 5 - 3", 12.0),
        ("64/4/2", 8.0),
        ("2*3**2", 18.0),
        ("2**3**2", 512.0),
        ("7/2", 3.5),
        ("n*m + n", 24.0),
        ("min(n, 3)", 3.0),
        ("max(n, 3, m)", 5.0),
        ("n*n/max(1, n - m)", 16.0),
        ("1 + min(n, max(2, m))*2", 9.0),
        ("1e3", 1000.0),
    ],
)
def test_formulas_follow_the_rules_of_arithmetic(formula: str, value: float) -> None:
    found = evaluate(formula, {"n": 4.0, "m": 5.0})
    assert isinstance(found, float)
    assert found == value


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true')",
        "().__class__",
        "n.real",
        "n[0]",
        "[n]",
        "{n}",
        "'n'",
        "'n'*3",
        "b'n'",
        "1j",
        "True",
        "None",
        "...",
        "n if n else 1",
        "n and 1",
        "n < 2",
        "lambda: 1",
        "[i for i in (1, 2)]",
        "(n := 3)",
        "f'{n}'",
        "n // 2",
        "n % 2",
        "n @ 2",
        "n << 2",
        "~n",
        "not n",
        "pow(2, 3)",
        "abs(n)",
        "eval('1')",
        "min",
        "min()",
        "min(n)",
        "min(*n)",
        "min(1, *n)",
        "min(1, 2, key=n)",
        "min(1, 2, default=n)",
        "min(1, 'n')",
        "(min)(1, 2)(3)",
        "(1 - n)**0.5",
        "1, 2",
        "unknown",
        "1 + unknown*2",
        "min(1, unknown)",
        "",
        "1 +",
        "n m",
        "n = 3",
        "1; 2",
        "import os",
        "\0",
    ],
)
def test_anything_else_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluate(formula, {"n": 4.0})


def test_a_refusal_names_the_part_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"'abs\(n\)' is not part of a cost formula"):
        evaluate("2*abs(n) + 1", {"n": 1.0})
    with pytest.raises(ValueError, match=r"'2 \*' is not a cost formula"):
        evaluate("2 *", {})


@pytest.mark.parametrize("formula", ["1/(n - 4)", "9**9**9", "10.0**300*10.0**300/0"])
def test_formulas_without_a_value_fail(formula: str) -> None:
    with pytest.raises(ArithmeticError):
        evaluate(formula, {"n": 4.0})


def test_names_are_the_variables() -> None:
    assert names("8*tile + 24*m*C/max(1, min(n, m))") == {"tile", "m", "C", "n"}
    assert names("1 + 2") == set()
    with pytest.raises(ValueError, match="not a cost formula"):
        names("n +")


def sizes(m: float, **changed: float) -> dict[str, float]:
    """A window with m candidates; N = n + m."""
    n = changed.get("n", 50.0)
    given = {"n": n, "C": 10.0, "P": 1e5, "D": 64.0, "b": 10.0, "k": 20.0, "s": 100.0, "tile": float(TILE_BYTES)}
    return {**given, **changed, "m": m, "N": n + m}


def test_every_letter_used_is_documented() -> None:
    text = strategies.__doc__ or ""
    missing = {letter for letter in DOCUMENTED if not re.search(rf"\b{letter}\b", text)}
    assert not missing
    assert {*sizes(1)} == DOCUMENTED


@EVERY
def test_formulas_name_documented_letters_only(strategy: Strategy) -> None:
    assert names(strategy.memory) <= DOCUMENTED
    assert names(strategy.time) <= DOCUMENTED
    assert "tile" not in names(strategy.time), "a tile is memory, not time"


@EVERY
@pytest.mark.parametrize("n", [0.0, 1.0, 50.0, 3000.0])
@pytest.mark.parametrize("m", [1.0, 100.0, 60_000.0])
def test_costs_are_positive(strategy: Strategy, m: float, n: float) -> None:
    for formula in (strategy.memory, strategy.time):
        assert 0 < evaluate(formula, sizes(m, n=n)) < float("inf")


@EVERY
@pytest.mark.parametrize("n", [0.0, 50.0, 3000.0])
def test_costs_grow_with_the_candidates(strategy: Strategy, n: float) -> None:
    """By the time, and by the memory too: the size that would fit is found by halving."""
    for formula in (strategy.memory, strategy.time):
        found = [evaluate(formula, sizes(m, n=n)) for m in (1.0, 2.0, 10.0, 100.0, 1e4, 1e5, 1e6)]
        assert all(one < other for one, other in pairwise(found)), formula


@EVERY
def test_costs_never_fall_with_anything_but_labels(strategy: Strategy) -> None:
    """More classes, parameters, features, picks, clusters or samples cost no less."""
    for letter in DOCUMENTED - {"N", "n", "m", "b"}:
        for formula in (strategy.memory, strategy.time):
            few, many = (evaluate(formula, sizes(500, **{letter: value})) for value in (30.0, 90.0))
            assert (few < many) == (letter in names(formula))
            assert few <= many
