"""LaTeX commands in quotes from the paper's source, converted to characters."""

from __future__ import annotations

import re

COMMANDS = {
    r"\beta": "β",
    r"\Delta": "Δ",
    r"\lambda": "λ",
    r"\sigma": "σ",
    r"\sum": "Σ",
    r"\log": "log",
    r"\leq": "≤",
    r"\geq": "≥",
    r"\mathcal{L}": "ℒ",
    r"\mathcal{S}": "𝒮",
    r"\hat{y}": "ŷ",
}
COMMAND = re.compile("|".join(re.escape(name) + r"(?![a-zA-Z])" for name in COMMANDS))
LOW = str.maketrans("0123456789+-ilnr", "₀₁₂₃₄₅₆₇₈₉₊₋ᵢₗₙᵣ")


def plain(text: str) -> str:
    """Convert a quote's LaTeX: ``$|y - \\sigma|^\\beta$`` is |y - σ|ᵝ; other text is unchanged."""
    text = COMMAND.sub(lambda match: COMMANDS[match[0]], text)
    text = re.sub(r"_\{\\\{(.*?)\\\}\}", r"{\1}", text)  # an indicator: 1{c > 0}
    text = re.sub(r"(?<!\w)([yλ𝒮])_(?:\{([\w+-]+)\}|(\w)(?!\w))", _lowered, text)
    text = re.sub(r"_\{(\w+)\}", r"_\1", text)
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)
    return text.replace("^β", "ᵝ").replace("^*", "*").replace("$", "")


def _lowered(match: re.Match[str]) -> str:
    """Return an index as subscript characters, if all of it has them."""
    index = match[2] or match[3]
    low = index.translate(LOW)
    return match[1] + (low if all(a != b for a, b in zip(index, low, strict=True)) else f"_{index}")
