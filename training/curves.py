"""The curves of a training run as one SVG: losses, rate, gradient, and how fast and large it was.

A picture of what `training.watch` keeps. It needs no library, no script and no network, and says in
words what it shows, in English and in Chinese.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

from curation.store import Version
from training.panel import STYLE, Line, Panel, Point
from training.watch import read_history

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = get_args(Lang)
History = Sequence[Mapping[str, Any]]

WIDTH, TALL, LOW, GAP = 920, 280, 190, 14  # pixels
SMOOTH = 0.9
"""How much of a smoothed loss is the one before it, as TensorBoard's slider has it."""
MEASURED = ("tokens_per_s", "memory_mb", "gpu_mb")
"""What of `log.jsonl` another run would not repeat."""
NOISY = ("grad_norm", "tokens_per_s")
WORDS: dict[str, tuple[str, str]] = {
    "curves": ("Curves of the run by optimizer step", "训练曲线（横轴为优化步）"),
    "loss": ("Loss", "损失"),
    "trained": ("trained rows", "训练样本"),
    "domain": ("domain, held out", "领域留出样本"),
    "general": ("general, held out", "通用留出样本"),
    "kept": ("kept: step {}", "保留第 {} 步"),
    "learning_rate": ("Learning rate", "学习率"),
    "grad_norm": ("Gradient norm", "梯度范数"),
    "tokens_per_s": ("Tokens per second", "每秒词元数"),
    "memory_mb": ("Memory, MB", "内存（MB）"),
    "gpu_mb": ("GPU memory, peak MB", "显存峰值（MB）"),
    "said": (
        "The smoothed loss went from {:.3f} to {:.3f} in {:,} steps.",
        "平滑后的损失在 {2:,} 步内从 {0:.3f} 变为 {1:.3f}。",
    ),
    "looked": (
        "Held-out {} rows: lowest loss {:.3f} at step {:,}, last {:.3f}.",
        "{}留出样本：最低损失 {:.3f}（第 {:,} 步），最后 {:.3f}。",
    ),
    "domain_rows": ("domain", "领域"),
    "general_rows": ("general", "通用"),
    "weights": ("The weights of step {:,} were kept.", "保留了第 {:,} 步的权重。"),
}


def tell_history(trained: Version, *, measured: History = (), lang: Lang = "en") -> tuple[str, str]:
    """The curves of a trained version's table `log` and what they show in words, "" without one."""
    if "log" not in trained.tables:
        return "", ""
    history, best = trained.table("log").to_dicts(), trained.values.get("best") or {}
    said: dict[str, Any] = {"kept": best.get("step"), "lang": lang}
    return draw_curves(history, measured=measured, **said), describe_curves(history, **said)


def draw_curves(
    history: History, *, kept: int | None = None, measured: History = (), lang: Lang = "en"
) -> str:
    """One `<svg>` element; "" when no step has a loss.

    `history` is that of `training.watch.read_history` or the rows of the table `log`, `measured`
    that of `read_measured`, and `kept` the step whose weights were kept.
    """
    if not (loss := _points(history, "loss")):
        return ""
    small = [_panel(history, name, lang) for name in ("learning_rate", "grad_norm")]
    small += [_panel(measured, name, lang) for name in MEASURED]
    drawn = [_loss_panel(history, loss, kept, lang).draw(0, 0, WIDTH, TALL)]
    shown = [panel for panel in small if panel.lines[0].points]
    half = (WIDTH - GAP) / 2
    for n, panel in enumerate(shown):
        x, y = (n % 2) * (half + GAP), TALL + GAP + (n // 2) * (LOW + GAP)
        drawn.append(panel.draw(x, y, half, LOW))
    height = TALL + math.ceil(len(shown) / 2) * (LOW + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="wc" role="img" lang="{lang}" '
        f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<title>{escape(_word('curves', lang))}</title>"
        f"<desc>{escape(describe_curves(history, kept=kept, lang=lang))}</desc>"
        f'<style>{STYLE}</style><rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>'
        f"{''.join(drawn)}</svg>"
    )


def describe_curves(history: History, *, kept: int | None = None, lang: Lang = "en") -> str:
    """What the curves show, in words; "" when no step has a loss."""
    if not (loss := _points(history, "loss")):
        return ""
    smooth = smoothed(loss)
    said = [_word("said", lang).format(smooth[0][1], smooth[-1][1], len(loss))]
    for track in ("domain", "general"):
        if looks := _points(history, f"eval_{track}_loss"):
            step, lowest = min(looks, key=lambda point: point[1])
            numbers = lowest, int(step), looks[-1][1]
            said.append(_word("looked", lang).format(_word(f"{track}_rows", lang), *numbers))
    said += [_word("weights", lang).format(kept)] if kept else []
    return ("" if lang == "zh" else " ").join(said)


def draw_log(path: Path, *, lang: Lang = "en") -> str:
    """The curves of a run by its `log.jsonl`, finished or not; "" while no step has a loss."""
    return draw_curves(read_history(_lines(path)), measured=read_measured(path), lang=lang)


def read_measured(path: Path) -> list[dict[str, Any]]:
    """What of a run's `log.jsonl` depends on the machine, by step; [] where there is no file."""
    steps: dict[int, dict[str, Any]] = {}
    for line in _lines(path):
        if "loss" in line:
            steps[line["step"]] = {k: line[k] for k in ("step", *MEASURED) if k in line}
    return [steps[step] for step in sorted(steps)]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """The running mean with weight `SMOOTH` on what was before, the first ones not pulled to 0."""
    mean, weight, out = 0.0, 0.0, []
    for x, y in points:
        mean, weight = SMOOTH * mean + (1 - SMOOTH) * y, SMOOTH * weight + (1 - SMOOTH)
        out.append((x, mean / weight))
    return out


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that is half written, by a run that goes on or died, is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def _loss_panel(history: History, loss: list[Point], kept: int | None, lang: Lang) -> Panel:
    lines = [Line("", loss, "one pale"), Line(_word("trained", lang), smoothed(loss), "one")]
    for track, style in (("domain", "two"), ("general", "three")):
        if looks := _points(history, f"eval_{track}_loss"):
            lines.append(Line(_word(track, lang), looks, style, dots=True))
    mark = (float(kept), _word("kept", lang).format(kept)) if kept else None
    return Panel(_word("loss", lang), lines, mark)


def _panel(history: History, name: str, lang: Lang) -> Panel:
    points = _points(history, name)
    noisy = [Line("", points, "one pale"), Line("", smoothed(points))]
    return Panel(_word(name, lang), noisy if name in NOISY else [Line("", points)])


def _points(history: History, name: str) -> list[Point]:
    """(step, value) of the steps that have a finite one."""
    told = ((step["step"], step.get(name)) for step in history)
    return [(float(x), float(y)) for x, y in told if y is not None and math.isfinite(y)]


def _word(name: str, lang: Lang) -> str:
    return WORDS[name][lang == "zh"]
