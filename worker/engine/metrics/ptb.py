"""Penn Treebank words of a caption, as COCO's caption evaluation makes them.

COCO runs `PTBTokenizer -preserveLines -lowerCase` of Stanford CoreNLP 3.4.1 and drops punctuation from what it prints.
The rules below were found from that program's output (every word of up to five letters and every character of the
Basic Multilingual Plane was tried in several places), not from its source. Like a lexer of its kind, this one takes at
each place the rule that reaches furthest, text looked ahead at included, and the earliest one of equals.
docs/metrics.md says on how many captions the two were compared.
"""

from __future__ import annotations

import re
from functools import lru_cache

# The lexer lower-cases "(" to "-lrb-" while COCO's list says "-LRB-", so brackets count as words. So do "!!" and "**".
_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)


def _one_of(words: str) -> str:
    return "(?:" + "|".join(sorted(words.split(), key=len, reverse=True)) + ")"


# Titles and the like keep their full stop wherever they stand.
_TITLE = _one_of(r"""
adj adm adv alex asst atty attys ave brig capt cf cie cmdr col comdr cpl dept det dr drs elec ens ft gen gov govs hon
insp invt jos lieut lt maj mfg mlle mme mr mrs ms msgr mt mtg natl pfc ph pres prof profs pvt rep reps rev sen sens sfc
sgt spc st ste supt supts treas vs wm
""")
# So do these, and what is glued on ("Jr.x") is cut off.
_ABBREVIATION = _one_of(r"""
al ala apr ariz assn assoc aug bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc ext feb fla fri ga
inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn ph\.d plc ppte pptes
ppty pptys pte ptes pty ptys rd rt sep sept seq sq sr sys tel tenn thu thurs tue tues univ va vt wed wis wisc wyo
""")
# English words when they are in lower case.
_CAPITAL_ABBREVIATION = _one_of(
    "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash ARK AZ DEL ILL LA MASS MISS ORE PA TEX WASH"
)
# Kept together with their full stop before a number only.
_NUMBERED = _one_of("art ca fig figs no nos op pp prop")
# "a J. Smith" keeps its initial, "a model T. The car" ends a sentence.
_STARTERS = r"""
A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Mr\. Ms\. Now
Once One Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""
_STARTER = _one_of(_STARTERS + _STARTERS.upper())

# Numerals such as "²" and "½" are \w to Python and symbols to the lexer; soft hyphens and accents belong to letters.
_NUMERAL = r"\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u218b\u2460-\u249b\u2776-\u2793"
_LETTER = rf"(?:(?![\d_{_NUMERAL}])\w|[\u00ad\u0300-\u036f])"
_ALNUM = rf"(?:(?![_{_NUMERAL}])\w|[\u00ad\u0300-\u036f])"
_CURLY = r"[\u0092\u2019]"
_APOSTROPHE = r"['\u0092\u2019]"
_HYPHEN = r"[-_\u058a\u2010\u2011]"
_BLANK = r"[ \t\u00a0\u2000-\u200a\u3000]"
_CLITIC = r"(?i:[smd]|re|ve|ll)"
_NOT = rf"(?i:n){_APOSTROPHE}(?i:t)"
_WORD = rf"{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*"
_PART = rf"(?:[dDoOlL]{_APOSTROPHE}{_ALNUM})?{_ALNUM}+"
_ACRONYM = rf"{_LETTER}(?:\.{_LETTER})+\."
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_URL = r"[^\s\"<>|(){}]"
_URL_END = r"[^\s\"<>|.!?(){},-]"
_FACE = r"[-^x=~<>']"

# Group 1 is the token; the rest of a match is looked at and given back.
_RULES = [
    re.compile(rule, re.DOTALL)
    for rule in (
        # Markup.
        r"(<(?:/?[A-Za-z!?][^<>\\]*|!--.*?--)>)",
        r"(&(?:(?i:amp|lt|gt|quot|apos)|nbsp|[mn]dash|#[0-9]+|[aeiouAEIOU](?:acute|grave|uml|circ));)",
        # Two words written as one, and "n't", "'s", "'re" cut from their word.
        r"((?i:can))(?i:not)",
        r"((?i:gon|wan))(?i:na)",
        r"((?i:got))(?i:ta)",
        r"((?i:gim|lem))(?i:me)",
        rf"({_APOSTROPHE}(?i:t))(?i:is|was)",
        rf"({_WORD}){_APOSTROPHE}{_CLITIC}",
        rf"('{_CLITIC}(?!{_LETTER})|{_CURLY}{_CLITIC})",
        rf"({_LETTER}+(?<![nN])){_NOT}",
        rf"({_NOT})",
        rf"({_WORD})",
        # Words that keep an apostrophe: rock 'n' roll, l'eau, ol', B'nai, 'em, '90s, ma'am, y'all, c'mon.
        rf"('[nN](?:{_APOSTROPHE}|(?=\s))|{_CURLY}[nN]{_APOSTROPHE}?)",
        rf"((?:[lLdDjJ]|(?i:ol)|[dD]unkin|[sS]omethin){_APOSTROPHE})",
        rf"([A-HJ-XZn]{_APOSTROPHE}{_LETTER}{{2,}})",
        rf"({_APOSTROPHE}(?:(?i:em|till?|cause|[2-9]0s)|[0-9]{{2}}(?=\s)))",
        rf"({_LETTER}+[aeiouyAEIOUY]{_APOSTROPHE}[aeiouA-Z]{_LETTER}*)",
        rf"([yY]{_APOSTROPHE}){_LETTER}",
        rf"([cC]{_APOSTROPHE}mon)",
        # Addresses and tags.
        rf"(https?://{_URL}+\.{_URL}*{_URL_END})",
        rf"(www\.(?:[^\s\"<>|.!?(){{}},]+\.)*[a-zA-Z]+(?:/{_URL}*{_URL_END})?)",
        rf"([a-zA-Z0-9]{_URL}*@(?:[^\s\"<>|(){{}}.@]+\.)*[^\s\"<>|(){{}}.@]+)",
        rf"(@{_LETTER}(?:{_ALNUM}|_)*|#{_LETTER}+)",
        # Compounds: t-shirt, R&B, and/or, C++.
        rf"({_PART}(?:{_HYPHEN}{_PART})*)",
        r"([A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)",
        rf"({_SLASHED}(?:/{_SLASHED}){{1,2}})",
        r"([cCfF]#|[cC]\+\+)",
        # Numbers, versions ("2.x"), fractions, telephone numbers.
        rf"({_ALNUM}*\d(?:\.\d+)*\.[xX])(?!{_ALNUM})",
        r"([-+]?(?:\d*(?:[.:,\u066b\u066c]\d+)+|\d+))",
        r"((?:[0-9]{1,4}[- \u00a0])?[0-9]{1,4}/[0-9]{1,4})",
        r"((?:\([0-9]{2,3}\)[ \u00a0]?|(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])[0-9]{3,4}[- \u00a0]?[0-9]{3,5})",
        # Full stops that belong to their word.
        rf"((?i:{_TITLE})\.)",
        rf"((?i:{_ABBREVIATION})\.)(?:..)?",
        rf"({_CAPITAL_ABBREVIATION}\.)(?:..)?",
        rf"([A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:{_ACRONYM}|[A-Za-z0-9]+))+)",
        rf"((?i:{_NUMBERED})\.){_BLANK}?\d",
        rf"((?:{_ALNUM}+-)*{_ACRONYM}(?:-{_ALNUM}+)*)",
        rf"([A-Za-z])\.{_BLANK}+{_STARTER}(?=\s)",
        r"([A-Za-z]\.)",
        rf"((?:{_WORD}|{_ALNUM}+)\.)[,;:]",
        # Faces, dollars, runs of one sign, any sign.
        r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])(?![A-Za-z0-9])",
        rf"({_FACE}_{_FACE}|\({_FACE}[_.]?{_FACE}\))",
        r"([A-Z]+\$)",
        r"(''|``|\.\.\.|-+|\*+|_+|##+|[?!]+|<<|>>)",
        r"(.)",
    )
]

_WRITTEN = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_WRITTEN |= {"¢": "cents", "£": "#", "\u0080": "$", "¤": "$", "\u20a0": "$", "€": "$"}
_WRITTEN |= {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "&lt;": "<", "&gt;": ">", "&amp;": "&"}
# Every make of quote, dash and dots is rewritten to one of COCO's list; these entities to a quote, a dash, a blank.
_WRITTEN |= dict.fromkeys('"\u0091\u0092\u0093\u0094\u0096\u0097«»\u00ad–—―‘’‛“”…‹›', "")
_WRITTEN |= dict.fromkeys(["&quot;", "&apos;", "&nbsp;", "&mdash;", "&ndash;"], "")
_BRACKET = re.compile(r"[()]")
_SHORT = re.compile(rf"{_APOSTROPHE}{_CLITIC}|{_NOT}")


def _write(token: str) -> str:
    """The token as the lexer prints it; empty where COCO drops it."""
    token = _WRITTEN.get(token.lower(), token)
    if token in _PUNCTUATION or (len(token) <= 4 and not token.strip("-")):
        return ""
    if len(token) == 1:
        return token.lower() if token.isprintable() and token <= "\uffff" else ""
    if _SHORT.fullmatch(token):
        token = re.sub(_APOSTROPHE, "'", token)
    elif token[-1] != ">":
        token = _BRACKET.sub(lambda bracket: _WRITTEN[bracket[0]], token.replace("&amp;", "&"))
    return token.replace(" ", "\u00a0").replace("\u00ad", "").lower()


def _tokens(line: str) -> list[str]:
    place, found = 0, []
    while place < len(line):
        if line[place].isspace():
            place += 1
            continue
        reach, end = place, place
        for rule in _RULES:
            match = rule.match(line, place)
            if match is not None and match.end() > reach:
                reach, end = match.end(), match.end(1)
        found.append(line[place:end])
        place = end
    return found


@lru_cache(maxsize=65536)
def words(caption: str) -> str:
    """The caption's words, lower-cased and joined by single spaces, as COCO's `PTBTokenizer.tokenize` returns them.

    A word may hold a no-break space ("1 1/2" is one number), which is why this is a text and no list: COCO's BLEU and
    CIDEr split at any space, its ROUGE only at a plain one. An empty text means that nothing but punctuation is left.
    About 0.1 ms a caption.
    """
    return " ".join(filter(None, map(_write, _tokens(" ".join(caption.splitlines()) + "\n"))))
