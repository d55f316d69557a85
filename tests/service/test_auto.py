"""The rule of `auto`."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from api_schemas.strategies import checked_options
from store.auto import COVERED, NOISE, PAIRED, Situation, choose


def test_typical_items_come_first_where_the_network_knows_only_these_labels() -> None:
    digits = Situation(labels=0, classes=10, candidates=500, trained_here=True)
    assert choose(digits).strategy == "typiclust"
    assert choose(replace(digits, labels=COVERED * 10 - 1)).strategy == "typiclust"
    assert choose(replace(digits, labels=COVERED * 10)).strategy == "mlmoc"
    assert choose(replace(digits, trained_here=False)).options == {"noise": NOISE}


def test_pairs_are_compared_where_they_are_few() -> None:
    two = Situation(labels=9, classes=2, candidates=PAIRED, trained_here=True)
    assert choose(two).strategy == "eer"
    assert choose(replace(two, candidates=PAIRED + 1)).strategy == "mlmoc"
    assert choose(replace(two, classes=3)).strategy == "mlmoc"
    assert choose(replace(two, labels=3)).strategy == "typiclust"


@given(
    st.builds(
        Situation, labels=st.integers(0), classes=st.integers(2), candidates=st.integers(1), trained_here=st.booleans()
    )
)
def test_what_is_chosen_can_be_run_and_is_explained(situation: Situation) -> None:
    chosen = choose(situation)
    assert checked_options(chosen.strategy, chosen.options)
    assert chosen.reason.startswith(f"auto chose {chosen.strategy}: ")
