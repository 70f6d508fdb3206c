"""Groups by a common beginning: whole, true to their tokens, and none that does not pay."""

from hypothesis import given
from hypothesis import strategies as st

from curation.prefixes import shared_prefixes

RULES = list(range(100, 160))


def test_those_that_begin_alike_are_together_and_the_rest_comes_last():
    heads = [[*RULES, 1], [7, 8], [*RULES, 2, 3], RULES, [9]]
    groups = shared_prefixes(heads, cost=100)
    assert [(n, sorted(group)) for n, group in groups] == [(60, [0, 2, 3]), (0, [1, 4])]


def test_a_group_has_to_save_more_than_it_costs():
    heads = [RULES] * 3
    assert shared_prefixes(heads, cost=119) == [(60, [0, 1, 2])]
    assert shared_prefixes(heads, cost=120) == [(0, [0, 1, 2])]
    assert shared_prefixes([], cost=0) == []


def test_a_longer_beginning_parts_a_group_where_that_saves_more():
    few = [[*RULES, 1, row] for row in range(4)]
    heads = [*([*RULES, row] for row in range(10, 30)), *few]
    assert [n for n, _ in shared_prefixes(heads, cost=100)] == [60]
    many = [[*RULES, *RULES, row] for row in range(20)]
    groups = shared_prefixes([*heads, *many], cost=100)
    assert sorted((n, len(group)) for n, group in groups) == [(60, 24), (120, 20)]


def test_what_a_long_beginning_leaves_over_still_has_a_short_one():
    own = [[5, 6, 7, *RULES, row] for row in range(20)]
    others = [[5, 6, 7, 1_000 + row, *range(row)] for row in range(60)]
    groups = shared_prefixes([*own, *others], cost=100)
    assert [(n, len(group)) for n, group in groups] == [(63, 20), (3, 60)]


HEADS = st.lists(st.lists(st.integers(1, 2), max_size=8), max_size=24)


@given(HEADS, st.integers(0, 12))
def test_no_single_beginning_would_have_saved_more(heads: list[list[int]], cost: int) -> None:
    groups = shared_prefixes(heads, cost=cost)
    assert sorted(i for _, group in groups for i in group) == list(range(len(heads)))
    for n_tokens, group in groups:
        assert len({tuple(heads[i][:n_tokens]) for i in group}) <= 1
        assert all(len(heads[i]) >= n_tokens for i in group)
    paid = [(len(group) - 1) * n - cost for n, group in groups if n]
    assert all(saved > 0 for saved in paid)
    for head in heads:
        for n in range(1, len(head) + 1):
            alike = sum(other[:n] == head[:n] for other in heads)
            assert (alike - 1) * n - cost <= sum(paid)


@given(HEADS, st.integers(0, 12))
def test_the_order_of_sequences_does_not_matter(heads: list[list[int]], cost: int) -> None:
    found = [
        sorted(
            (n, sorted(given[i] for i in group)) for n, group in shared_prefixes(given, cost=cost)
        )
        for given in (heads, heads[::-1])
    ]
    assert found[0] == found[1]
