"""Which language an answer is written in, as far as a judge that knows only some has to tell."""

from __future__ import annotations

import re

_ENGLISH_WORDS = (
    "the of and to a in is you it that for i not can are this with be have as your or do on if will was my "
    "an at by from they we but what there how"
)
_FOREIGN = {
    "Spanish": "el la los las de que y en un una por con para no es se lo su al del como pero puedo siento",
    "French": "le la les de des du et un une que qui dans pour pas ne est ce je vous il sur avec au désolé",
    "German": "der die das und ist nicht ich sie zu den von mit ein eine für auf dem es kann leider im wie",
    "Italian": "il la di che e un una per non è con sono gli le del della si mi dispiace posso come",
    "Portuguese": "o a os as de que e um uma para não com em do da no na se por é eu desculpe posso mas",
    "Dutch": "de het een en van ik niet is dat op te zijn voor met aan kan er maar om ook geen",
    "Swedish or Danish": "och att det som en på är jag inte för med den av kan er og ikke af til jeg ett",
    "Polish": "i w na nie się że jest to z do jak ale przepraszam mogę dla po są o czy",
    "Turkish": "ve bir bu için de da ben ile çok ama değil üzgünüm var gibi daha olarak",
    "Indonesian": "yang dan di ini itu dengan untuk tidak saya dari dalam akan pada bisa maaf adalah",
    "Vietnamese": "tôi không là và của có cho một được trong này với các những để xin",
}
_COMMON = (
    "the of and that this these those with for you your yours are not have has had from they them their "
    "who which whose would should could there then than when what how why where will can was were been "
    "being does did its it about more most some any other others such also only because while after "
    "before his him her he she our ours us into through over between each every both up down out all many "
    "much like just very make use if but or as is be on an we again new way get got take put go day time "
    "one two three first good people work help need want see look without under until during against "
    "another same own off even here too never always often still well back place set using used means "
    "made within along around number name water year years am may might must shall himself yourself home "
    "old long little big great high small large next last life world man woman children school part "
    "please sorry cup food book white read write house city family friend week hour minutes cost total "
    "left times cannot"
)
"""Frequent English words, without those that also stand in Czech, Irish or Slovene text (in, to, at, me)."""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_KNOWN_ENGLISH = frozenset(_COMMON.split())
_FOREIGN_WORDS = {name: frozenset(words.split()) for name, words in _FOREIGN.items()}
_SCRIPTS = {"Hindi": ("\u0900", "\u097f"), "Thai": ("\u0e00", "\u0e7f")}

FEWEST_WORDS = 12
"""Words of running text below which an unknown language is not looked for (ours)."""
ENGLISH_SHARE = 0.1
"""Running text with a smaller share of frequent English words is not English (ours): 6 of 13,238 answers
in English (XSTest, Alpaca, Dolly, GSM8K, ours), but all that were tried in 23 others (Czech to Zulu)."""
NO_ENGLISH_WORDS = 4
"""Running text of this many words, in an answer without one frequent English word, is not English (ours): 6
of 9,398 answers in English (XSTest, Alpaca, Dolly), mostly bare lists."""
_RUN = 3
"""Lower-case words that a piece between punctuation, digits and lines needs to be running text; the items of
lists, names and code have fewer (ours)."""
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


def foreign_language(answer: str) -> str | None:
    """Name what an answer is written in, if it is clearly not English; else `None`.

    By script (fewer than half of at least 8 letters are Latin), then by function words: one of eleven
    languages has at least 3 and more than twice as many as English. Other languages in Latin letters are an
    `unknown language`, told by few frequent English words among at least `FEWEST_WORDS` words of running
    text, or by none in an answer with at least `NO_ENGLISH_WORDS` of them. Text too short to tell is taken as
    English. Close relatives of the eleven bear their names (Romanian that of Spanish, say). Thresholds: ours.
    """
    letters = [character for character in answer if character.isalpha()]
    if len(letters) >= 8 and sum(_is_latin(character) for character in letters) < len(letters) / 2:
        return _script(letters)
    words = re.findall(r"\b[^\W\d_]+\b", answer.casefold())
    english = sum(word in _ENGLISH for word in words)
    counts = {name: sum(word in known for word in words) for name, known in _FOREIGN_WORDS.items()}
    name = max(counts, key=lambda key: counts[key])
    if counts[name] >= 3 and counts[name] > 2 * english:
        return name
    running = _running_words(answer)
    known = sum(word in _KNOWN_ENGLISH for word in running)
    few = len(running) >= FEWEST_WORDS and known < ENGLISH_SHARE * len(running)
    none = len(running) >= NO_ENGLISH_WORDS and not (_ENGLISH | _KNOWN_ENGLISH) & set(words)
    return "unknown language" if few or none else None


def _running_words(answer: str) -> list[str]:
    """The words, in lower case, of an answer's sentences, without those of its lists, names and code."""
    words: list[str] = []
    for piece in re.split(r"[^\w\s'\u2019-]|[_\d\n]", _CODE.sub("\n", answer)):
        own = re.findall(r"[^\W\d_]+", piece)
        if sum(word.islower() for word in own) >= _RUN:
            words += [word.lower() for word in own]
    return words


def _script(letters: list[str]) -> str:
    for name, (first, last) in _SCRIPTS.items():
        if sum(first <= letter <= last for letter in letters) > len(letters) / 2:
            return name
    return "another script"


def _is_latin(character: str) -> bool:
    return character < "\u0250" or "\u1e00" <= character < "\u1f00"
