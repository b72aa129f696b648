"""What methods win and what it costs, said where it cannot be overlooked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcalib.cli._console import Console

if TYPE_CHECKING:
    from mrcalib.study import Study

__all__ = ["tell_trade_offs"]


def tell_trade_offs(study: Study, whose: str, console: Console) -> None:
    """Print them, with what is safe to choose, and warn that there are any."""
    sentences, base = study.trade_offs(), study.methods[0]
    if not sentences:
        return
    console.show(f"\nWhat is won, and what it costs ({whose}):")
    for sentence in sentences:
        console.show(f"  {sentence}")
    safe = ", ".join(study.unharmed())
    console.show(f"  Better than {base} on some metric and significantly worse on none: {safe or 'no method'}.")
    if any(metric.name == "soft_dice" for metric in study.metrics):
        console.show("  Soft Dice rewards overconfidence, so that it falls under any honest calibration.")
    who = f"{len(sentences)} methods win" if len(sentences) > 1 else "a method wins"
    console.note(
        f"warning: {who} on some metrics at a significant cost on others ({whose}); "
        "see 'What is won, and what it costs' before choosing."
    )
