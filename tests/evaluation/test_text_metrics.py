"""Metrics of text: the reference libraries' own numbers in English, counted by hand in Chinese."""

import polars as pl
import pytest
import sacrebleu
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

from curation.tasks.free_text import free_text
from evaluation.metrics._words import split_words
from evaluation.metrics.accuracy import accuracy
from evaluation.metrics.bleu import bleu
from evaluation.metrics.chrf import chrf
from evaluation.metrics.length_ratio import length_ratio
from evaluation.metrics.meteor import align_words, meteor
from evaluation.metrics.rouge import rouge

ENGLISH = [
    ("The cat sat on the mat, didn't it?", "A cat was sitting on the mat; it did."),
    (
        "Turn on the heated seats when it is below 5.5 degrees.",
        "Turn the heated seats on below 5.5",
    ),
    ("It is a guide to action which ensures obedience", "It is the action that guides to obeying"),
]
CHINESE = [
    ("请把主驾驶的车窗打开一半。", "请把副驾驶的车窗打开一半。"),
    ("导航去机场，避开高速，QQ音乐继续播放", "导航去机场，走高速，继续播放QQ音乐"),
]


def cases(*pairs: tuple[str, str]) -> pl.DataFrame:
    frame = pl.DataFrame(pairs, schema={"gold": pl.String, "predicted": pl.String}, orient="row")
    return frame.with_columns(kind=pl.lit("task"))


def value(metric, *pairs: tuple[str, str]) -> float | None:
    return metric(cases(*pairs), free_text())


class NoSynonyms:
    """WordNet without its words."""

    def synsets(self, word: str) -> list[str]:
        return []


def test_bleu_is_that_of_sacrebleu_with_the_tokenizer_of_the_language():
    for pairs, tokenizer in ((ENGLISH, "13a"), (CHINESE, "zh")):
        gold, said = zip(*pairs, strict=True)
        reference = sacrebleu.corpus_bleu(said, [gold], tokenize=tokenizer).score
        assert value(bleu(), *pairs) == pytest.approx(reference) and reference > 5
    both = value(bleu(), *ENGLISH, *CHINESE)  # one corpus, each row cut as its language wants it
    assert both is not None and both > 5


def test_chrf_is_that_of_sacrebleu():
    gold, said = zip(*ENGLISH, *CHINESE, strict=True)
    for order in (0, 2):
        reference = sacrebleu.corpus_chrf(said, [gold], word_order=order).score
        assert value(chrf(word_order=order), *ENGLISH, *CHINESE) == pytest.approx(reference)


@pytest.mark.parametrize("variant", ["rouge1", "rouge2", "rougeL"])
def test_rouge_in_english_is_that_of_the_reference(variant):
    reference = RougeScorer([variant])
    scores = [reference.score(gold, said)[variant].fmeasure for gold, said in ENGLISH]
    assert value(rouge(variant=variant), *ENGLISH) == pytest.approx(sum(scores) / 3)


@pytest.mark.parametrize(("variant", "wanted"), [("rouge1", 2 / 4), ("rouge2", 1 / 3)])
def test_rouge_in_chinese_is_by_character(variant, wanted):
    assert value(rouge(variant=variant), ("打开空调", "打开车窗。")) == pytest.approx(wanted)


def test_rouge_sees_the_chinese_around_latin_letters():
    pair = ("播放QQ音乐", "删除QQ空间")
    assert RougeScorer(["rougeL"]).score(*pair)["rougeL"].fmeasure == 1
    assert value(rouge(), pair) == pytest.approx(1 / 5)
    assert value(rouge(), ("Größe", "Größe")) == 1  # letters the reference has none of


def test_meteor_in_english_is_nltks_without_synonyms():
    for gold, said in ENGLISH[1:]:  # in the first a word stands twice, which nltk matches crosswise
        words = split_words(gold), split_words(said)
        reference = single_meteor_score(*words, wordnet=NoSynonyms())  # type: ignore[arg-type]
        assert value(meteor(), (gold, said)) == pytest.approx(reference)


def test_meteor_in_chinese_counted_by_hand():
    # 打开 and 车窗 stand in gold: 4 of 4 and of 6 characters, in two runs.
    f_mean = 1 * (4 / 6) / (0.9 * 1 + 0.1 * (4 / 6))
    wanted = f_mean * (1 - 0.5 * (2 / 4) ** 3)
    assert value(meteor(), ("打开主驾车窗", "打开车窗")) == pytest.approx(wanted)
    assert value(meteor(), ("打开空调", "关掉它")) == 0


def test_meteor_keeps_runs_together_where_a_word_stands_twice():
    assert align_words(["the", "dog"], ["the", "cat", "saw", "the", "dog"]) == [3, 4]
    assert align_words(list("天气好"), list("今天天气好")) == [2, 3, 4]
    assert align_words(["guides", "guide"], ["guide"]) == [None, 0]  # equal words first


def test_accuracy_by_label_counted_by_hand():
    pairs = [("好评", "好评。"), ("好评", "ＯＫ"), ("好评", "好评"), ("差评", "好评")]
    assert value(accuracy(), *pairs) == 2 / 4
    assert value(accuracy(balanced=True), *pairs) == pytest.approx((2 / 3 + 0) / 2)
    assert value(accuracy(), ("-1", "1"), ("Refund", "refund.")) == 1 / 2


def test_length_is_that_of_the_answers_over_gold():
    assert value(length_ratio(), ("打开", "打开空调"), ("on", "on")) == 6 / 4


@pytest.mark.parametrize("metric", [bleu, chrf, rouge, meteor, accuracy, length_ratio])
def test_nothing_asked_is_no_number_and_no_answer_is_the_lowest(metric):
    assert value(metric()) is None
    assert value(metric(), ("打开空调", "")) == 0
