"""How the index reads text: words in lower case, without English endings (annotation contract 6.2).

The stemmer is step 1 of Porter's: plurals, `-ed`, `-ing` and a final `y`. The real server runs all its steps, so
that `painter` and `painting` are apart here as there, while `national` and `nation` are apart only here.
"""

import re

_LONGEST = 20_000
_WORD = re.compile(r"[^\W_]+")
_VOWEL = re.compile(r"[aeiouy]")
_DOUBLE = re.compile(r"([b-df-hj-kmnp-rtvwx])\1$")


def words(text: str) -> str:
    """The words of a text, stemmed, apart by one blank and with a blank at both ends; empty when there are none."""
    found = [stem(word) for word in _WORD.findall(text[:_LONGEST].lower())]
    return f" {' '.join(found)} " if found else ""


def stem(word: str) -> str:
    """An English word without its ending."""
    if len(word) < 3 or not word.isascii():
        return word
    word = _past_and_present(_singular(word))
    if word.endswith("y") and _VOWEL.search(word[:-1]):
        return word[:-1] + "i"
    return word


def _singular(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _past_and_present(word: str) -> str:
    for ending in ("ed", "ing"):
        rest = word.removesuffix(ending)
        if rest == word or not _VOWEL.search(rest):
            continue
        if rest.endswith(("at", "bl", "iz")):
            return rest + "e"
        return rest[:-1] if _DOUBLE.search(rest) else rest
    return word
