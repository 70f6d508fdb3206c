"""The curves of a run: one picture that stands alone, and says in words what it shows."""

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from assets.live import PICTURE, drawing
from training.curves import describe_curves, draw_curves, read_measured, smoothed
from training.panel import Line, Panel, say_number, thin, ticks

NO_LOOK = {"eval_domain_loss": None, "eval_general_loss": None}
SVG = "{http://www.w3.org/2000/svg}"


def history(n: int = 120) -> list[dict[str, Any]]:
    """A run of `n` steps whose loss falls from 2 to 1, with three looks at rows of both tracks."""
    steps: list[dict[str, Any]] = [
        {"step": k, "loss": 2 - k / n, "learning_rate": 1e-4, "grad_norm": 1.0, **NO_LOOK}
        for k in range(1, n + 1)
    ]
    for at, domain, general in ((40, 1.5, 1.0), (80, 1.2, 1.1), (n, 1.4, 1.3)):
        steps[at - 1] |= {"eval_domain_loss": domain, "eval_general_loss": general}
    return steps


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_picture_holds_each_curve_and_marks_the_step_that_was_kept() -> None:
    measured = [{"step": k, "tokens_per_s": 9000.0, "memory_mb": 600} for k in (1, 2, 3)]
    svg = draw_curves(history(), kept=80, measured=measured)
    shown = texts(svg)
    for title in ("Loss", "Learning rate", "Gradient norm", "Tokens per second", "Memory, MB"):
        assert title in shown
    assert "kept: step 80" in shown and "GPU memory, peak MB" not in shown
    root = ElementTree.fromstring(svg)
    assert len([*root.iter(f"{SVG}circle")]) == 6  # two tracks, three looks each
    assert not [e for e in root.iter() if {"href", "src", "onload"} & {*e.keys()}]


def test_both_languages_say_in_words_what_is_shown() -> None:
    english, chinese = (describe_curves(history(), kept=80, lang=lang) for lang in ("en", "zh"))
    assert "domain rows: lowest loss 1.200 at step 80, last 1.400" in english
    assert "领域留出样本：最低损失 1.200（第 80 步），最后 1.400" in chinese
    for lang, said in (("en", english), ("zh", chinese)):
        svg = draw_curves(history(), kept=80, lang=lang)  # type: ignore[arg-type]
        assert ElementTree.fromstring(svg).findtext(f"{SVG}desc") == said
        assert {"en": "Loss", "zh": "损失"}[lang] in texts(svg)


@pytest.mark.parametrize("steps", [1, 2, 5000])
def test_a_run_of_any_length_has_a_small_picture(steps: int) -> None:
    run = [{"step": n + 1, "loss": 1.0 + math.sin(n), "grad_norm": 0.0} for n in range(steps)]
    svg = draw_curves(run)
    ElementTree.fromstring(svg)
    assert len(svg) < 40_000 and "nan" not in svg and "inf" not in svg


def test_what_is_no_number_is_left_out_and_a_run_without_losses_has_no_picture() -> None:
    broken = [*history(), {"step": 121, "loss": float("nan"), "grad_norm": float("inf")}]
    assert "nan" not in draw_curves(broken)
    assert draw_curves([]) == draw_curves([{"step": 1, "eval_domain_loss": 1.0}]) == ""


def test_thinning_keeps_every_peak() -> None:
    points = [(float(n), 0.0) for n in range(10_000)]
    points[4321] = (4321.0, 9.0)
    kept = thin(points, 500)
    assert (4321.0, 9.0) in kept and len(kept) <= 510 and kept == sorted(kept)


def test_smoothing_is_a_mean_that_does_not_start_at_nought() -> None:
    assert [y for _, y in smoothed([(1, 2.0), (2, 2.0), (3, 2.0)])] == pytest.approx([2, 2, 2])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 1, ["0", "0.5", "1"]),
        (0.31, 2.7, ["0", "1", "2", "3"]),
        (0, 4e-4, ["0", "1e-4", "2e-4", "3e-4", "4e-4"]),
        (900, 12_000, ["0", "5k", "10k", "15k"]),
    ],
)
def test_ticks_are_round_and_hold_what_is_drawn(low: float, high: float, said: list[str]) -> None:
    assert [say_number(tick) for tick in ticks(low, high)] == said


def test_words_in_a_panel_are_no_markup() -> None:
    svg = Panel("<b>a & b", [Line("</svg>", [(0, 1), (1, 2)])]).draw(0, 0, 300, 200)
    assert "&lt;b&gt;a &amp; b" in svg and "&lt;/svg&gt;" in svg and "</svg>" not in svg


def test_a_run_is_drawn_while_it_goes(tmp_path: Path) -> None:
    said: list[str] = []
    report = drawing(said.append, tmp_path, every_s=0)
    report("loading")  # no log yet
    assert not (tmp_path / PICTURE).exists()
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / "log.jsonl", "w") as log:
        for n, title in ((1, "Loss"), (2, "Memory, MB")):
            log.write(json.dumps({"step": n, "loss": 2.0, "memory_mb": 600}) + "\n")
            log.flush()
            report(f"step {n}")
            assert title in texts((tmp_path / PICTURE).read_text())
    assert said == ["loading", "step 1", f"curves of this run: {tmp_path / PICTURE}", "step 2"]
    rarely = drawing(said.append, tmp_path)
    rarely("step 4")
    drawn = (tmp_path / PICTURE).stat().st_ino
    rarely("step 5")
    assert (tmp_path / PICTURE).stat().st_ino == drawn


def test_what_a_killed_run_left_half_written_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"step": 1, "loss": 2.0, "tokens_per_s": 5.0, "memory_mb": 9}, {"step": 1, "eval": 1}]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 2, "lo')
    assert read_measured(path) == [{"step": 1, "tokens_per_s": 5.0, "memory_mb": 9}]
    assert read_measured(tmp_path / "none") == []
