"""The table of goals: what is to be reached, beside what was measured at the largest size on the most threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]

HEADER = [
    "Medians at the largest size that was measured, coherent voxels, on the most threads (in brackets: shuffled voxels).",
    "The base is one read of all inputs by one thread; for transform it is a copy, the fastest by up to as many threads.",
    "",
    "| work | voxels | times the base | goal | times faster than the peer | goal |",
    "|---|---|---|---|---|---|",
]


@dataclass(frozen=True)
class Found:
    """A group's first piece of work in one order of the voxels, and what it was measured beside."""

    ours: Line
    beside: Sequence[Line]

    @classmethod
    def of(cls, flat: Sequence[Line], group: str, order: str, n: int) -> Found | None:
        """None where it was not measured."""
        rows = [row for row in flat if (row["group"], row["order"], row["n"]) == (group, order, n)]
        ours = [row for row in rows if row["kind"] == "mrcalib" and row["seconds"] != ""]
        if not ours:
            return None
        return cls(max((row for row in ours if row["work"] == ours[0]["work"]), key=lambda row: row["threads"]), rows)

    def times_faster(self, peer: str) -> float | None:
        """Than the peer; None where that was not measured."""
        theirs = [row["seconds"] for row in self.beside if row["work"] == peer and row["seconds"] != ""]
        return theirs[0] / self.ours["seconds"] if theirs else None


def table(parts: dict[str, dict[str, Any]], flat: Sequence[Line]) -> list[str]:
    """Lines of Markdown."""
    lines = list(HEADER)
    for group in dict.fromkeys(part["group"] for part in parts.values() if "group" in part):
        some = [part for part in parts.values() if part.get("group") == group and part["order"] == "coherent"]
        goal = some[0]["goal"] if some else {}
        if not any(goal.values()):
            continue
        n = max(part["voxels"] for part in some)
        found = {order: Found.of(flat, group, order, n) for order in ("coherent", "shuffled")}
        if found["coherent"] is not None:
            lines.append(_line(goal, found["coherent"], found["shuffled"]))
    return lines


def _line(goal: dict[str, Any], first: Found, shuffled: Found | None) -> str:
    ours = first.ours
    wrong = ", but the answer is WRONG" if ours["right"] is False else ""
    start = f"| {ours['work']} | {ours['n']:,} | "
    if goal["within"]:
        met = _met(ours["seconds"] <= goal["within"])
        return start + f"{ours['seconds']:.2f} s | within {goal['within']:g} s: {met}{wrong} | | |"
    bracket = f" ({shuffled.ours['times_base']:.2f})" if shuffled else ""
    times = f"{ours['times_base']:.2f}{bracket} | at most {goal['base']:g}: {_met(ours['times_base'] <= goal['base'])}{wrong}"
    ratios, wanted = [], []
    for peer, least in goal["faster"].items():
        ratio, other = first.times_faster(peer), shuffled.times_faster(peer) if shuffled else None
        ratios.append(("-" if ratio is None else f"{ratio:.1f}") + ("" if other is None else f" ({other:.1f})"))
        wanted.append(f"{least:g} x {peer}: {'not measured' if ratio is None else _met(ratio >= least)}")
    return start + f"{times} | {'; '.join(ratios)} | {'; '.join(wanted)} |"


def _met(yes: bool) -> str:  # noqa: FBT001
    return "met" if yes else "not met"
