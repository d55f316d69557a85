"""The rule of `auto`."""

from hypothesis import given
from hypothesis import strategies as st

from api_schemas.strategies import checked_options
from service.operations.auto import COVERED, NOISE, Situation, choose


def test_typical_items_come_first_where_the_network_knows_only_these_labels() -> None:
    assert choose(Situation(labels=0, classes=10, trained_here=True)).strategy == "typiclust"
    assert choose(Situation(labels=COVERED * 10 - 1, classes=10, trained_here=True)).strategy == "typiclust"
    assert choose(Situation(labels=COVERED * 10, classes=10, trained_here=True)).strategy == "mlmoc"
    assert choose(Situation(labels=0, classes=10, trained_here=False)).options == {"noise": NOISE}


@given(st.builds(Situation, labels=st.integers(0), classes=st.integers(2), trained_here=st.booleans()))
def test_what_is_chosen_can_be_run_and_is_explained(situation: Situation) -> None:
    chosen = choose(situation)
    assert checked_options(chosen.strategy, chosen.options)
    assert chosen.reason.startswith(f"auto chose {chosen.strategy}: ")
