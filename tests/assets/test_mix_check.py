"""The mix check: it holds only at the very ratio, and a shortage is said."""

from assets.mix import _ratio_check, _wanted_ratio


def report(general, domain):
    line = {"tokens": 1, "loss_tokens": 1}
    return {"general": {"rows": general, **line}, "domain": {"rows": domain, **line}}


def test_the_exact_ratio_passes_and_one_row_off_fails():
    wanted = _wanted_ratio({})
    assert wanted == {"general": 7, "domain": 1}
    assert _ratio_check(report(70, 10), wanted, "")[0]
    assert not _ratio_check(report(69, 10), wanted, "")[0]
    assert not _ratio_check(report(0, 0), wanted, "")[0]


def test_a_shortage_fails_the_check_and_stands_in_its_words():
    passed, text = _ratio_check(report(50, 10), _wanted_ratio({"general": 7}), "the pool is short")
    assert not passed and text.endswith("the pool is short")
