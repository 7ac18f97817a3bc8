"""English names of languages for prompts: a model follows "in Portuguese" more reliably than "in pt"."""

from __future__ import annotations

import re
from unicodedata import normalize

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
# In their own language, and English in others; `_` is a space.
_OWN_NAMES = """
en=Englisch en=Anglais en=Inglés en=Inglese en=Inglês en=Engels en=Engelska en=Engelsk en=Angielski en=Angličtina
en=Английский en=Англійська en=İngilizce en=Englanti en=Angol en=Engleză en=Αγγλικά en=الإنجليزية en=अंग्रेज़ी en=英语
en=英文 en=英語 en=영어 en=Tiếng_Anh
ar=العربية bg=Български ca=Català cs=Čeština cs=Česky da=Dansk de=Deutsch el=Ελληνικά es=Español et=Eesti fa=فارسی
fi=Suomi fr=Français he=עברית hi=हिन्दी hi=हिंदी hr=Hrvatski hu=Magyar id=Bahasa_Indonesia it=Italiano ja=日本語 ko=한국어
lt=Lietuvių lv=Latviešu nl=Nederlands no=Norsk pl=Polski pt=Português ro=Română ru=Русский sk=Slovenčina
sl=Slovenščina sr=Српски sv=Svenska th=ไทย tr=Türkçe uk=Українська vi=Tiếng_Việt zh=中文 zh=汉语
"""
_NAMES = dict(row.split("=") for row in _TABLE.split())
_REGION = re.compile(r"(?<=\A[a-z]{2})[-_](?:[A-Z]{2}|[A-Z][a-z]{3})\Z")
_BRACKETED = re.compile(r"[(\[]([^()\[\]]+)[)\]]\s*\Z")
_CODES = {name.casefold(): code for code, name in _NAMES.items()} | {code: code for code in _NAMES}
_CODES |= {name.replace("_", " ").casefold(): code for code, name in (row.split("=") for row in _OWN_NAMES.split())}


def language_name(code: str) -> str:
    """The English name of a language by its two-letter code (ISO 639-1), or a phrase that contains an unknown code."""
    return _NAMES.get(code, f"the language with the ISO 639-1 code {code}")


def language_code(name: str) -> str | None:
    """The two-letter code of a language, from a code, a code with a region or script (`pt-BR`), or its name in
    English or in the language itself, which may be in brackets (`Source (English)`); None if it is not a known
    language."""
    name = normalize("NFC", bracketed[1] if (bracketed := _BRACKETED.search(name)) else name).strip()
    return _CODES.get(_REGION.sub("", name).casefold())
