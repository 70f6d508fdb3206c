"""The mix check: it holds only at the very ratio, and a shortage is said."""

from assets.mix import _asked, _ratio_check


def report(general, domain):
    line = {"tokens": 1, "loss_tokens": 1}
    return {"general": {"rows": general, **line}, "domain": {"rows": domain, **line}}


def test_the_exact_ratio_passes_and_one_row_off_fails():
    wanted = _asked({})
    assert (wanted["general"], wanted["domain"], wanted["unit"]) == (7, 1, "rows")
    assert _ratio_check(report(70, 10), wanted, "")[0]
    assert not _ratio_check(report(69, 10), wanted, "")[0]
    assert not _ratio_check(report(0, 0), wanted, "")[0]


def test_a_shortage_fails_the_check_and_stands_in_its_words():
    passed, text = _ratio_check(report(50, 10), _asked({"general": 7}), "the pool is short")
    assert not passed and text.endswith("the pool is short")


def test_tokens_are_exact_to_half_of_the_longest_row():
    tokens = {"general": {"rows": 3, "tokens": 1395}, "domain": {"rows": 9, "tokens": 200}}
    said = {track: line | {"loss_tokens": 1} for track, line in tokens.items()}
    passed, text = _ratio_check(said, _asked({"unit": "tokens"}), "", longest=10)
    assert passed and text.startswith("general:domain 6.975:1 by tokens")
    assert not _ratio_check(said, _asked({"unit": "tokens"}), "", longest=9)[0]
