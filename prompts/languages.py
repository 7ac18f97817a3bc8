"""English names of languages for prompts: a model follows "in Portuguese" more reliably than "in pt"."""

from __future__ import annotations

import re

_TABLE = """
af=Afrikaans ar=Arabic az=Azerbaijani be=Belarusian bg=Bulgarian bn=Bengali bs=Bosnian ca=Catalan cs=Czech cy=Welsh
da=Danish de=German el=Greek en=English eo=Esperanto es=Spanish et=Estonian eu=Basque fa=Persian fi=Finnish
fr=French ga=Irish gl=Galician gu=Gujarati he=Hebrew hi=Hindi hr=Croatian hu=Hungarian hy=Armenian id=Indonesian
is=Icelandic it=Italian ja=Japanese ka=Georgian kk=Kazakh kn=Kannada ko=Korean la=Latin lb=Luxembourgish
lt=Lithuanian lv=Latvian mk=Macedonian ml=Malayalam mn=Mongolian mr=Marathi ms=Malay mt=Maltese nb=Norwegian
ne=Nepali nl=Dutch nn=Norwegian no=Norwegian pa=Punjabi pl=Polish ps=Pashto pt=Portuguese ro=Romanian ru=Russian
si=Sinhala sk=Slovak sl=Slovenian sq=Albanian sr=Serbian sv=Swedish sw=Swahili ta=Tamil te=Telugu th=Thai tl=Tagalog
tr=Turkish uk=Ukrainian ur=Urdu uz=Uzbek vi=Vietnamese xh=Xhosa yo=Yoruba zh=Chinese zu=Zulu
"""
_NAMES = dict(row.split("=") for row in _TABLE.split())
_REGION = re.compile(r"(?<=\A[a-z]{2})[-_](?:[A-Z]{2}|[A-Z][a-z]{3})\Z")
_CODES = {name.casefold(): code for code, name in _NAMES.items()} | {code: code for code in _NAMES}


def language_name(code: str) -> str:
    """The English name of a language by its two-letter code (ISO 639-1), or a phrase that contains an unknown code."""
    return _NAMES.get(code, f"the language with the ISO 639-1 code {code}")


def language_code(name: str) -> str | None:
    """The two-letter code of a language, from a code, a code with a region or script (`pt-BR`), or an English name;
    None if it is not a known language."""
    return _CODES.get(_REGION.sub("", name.strip()).casefold())
