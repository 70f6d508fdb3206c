"""Prices by name or by option, and guesses of how long a prompt is."""

import pytest

from curation.llm_money import find_prices, guess_prompt_tokens


def test_a_listed_model_has_its_price_also_under_the_name_of_a_snapshot():
    named = find_prices("gpt-4o-mini", budget_usd=1.0)
    assert (named.prompt, named.completion) == pytest.approx((0.15e-6, 0.6e-6))
    assert find_prices("gpt-4o-mini-2024-07-18") == named
    assert not find_prices("gpt-4o-mini-tts").known


def test_a_batch_costs_what_a_batch_costs():
    live, batch = find_prices("gpt-4.1"), find_prices("gpt-4.1", batch=True)
    assert batch.prompt == pytest.approx(live.prompt / 2)
    assert find_prices("gpt-4.1", 1.0, 2.0, batch=True) == find_prices("other", 1.0, 2.0)


def test_what_is_given_goes_before_the_list():
    assert find_prices("gpt-4o", 1.0).prompt == pytest.approx(1e-6)
    assert find_prices("gpt-4o", 0.0, 0.0).cost_usd(10**6, 10**6) == 0


@pytest.mark.parametrize("model", ["我的模型", "my-model"])
def test_a_budget_for_an_unknown_model_names_the_options(model):
    with pytest.raises(ValueError, match=f"{model}.*give usd_per_m_prompt and usd_per_m_compl"):
        find_prices(model, budget_usd=1.0)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("Please turn on the air conditioner in the back. " * 20, 170, 260),
        ("请打开后排的空调。" * 20, 90, 180),
    ],
)
def test_a_guess_lies_where_tokenizers_of_today_do(text, least, most):
    assert least <= guess_prompt_tokens({"messages": [{"role": "user", "content": text}]}) <= most
