"""A data format or programming language that an instruction names, and a text that is something else.

wrong_format("Answer as CSV.", "- yoga, 18:00") == "csv"
other_code("A function in Rust.", "def add(a, b):\\n    return a + b") == "python"
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from functools import lru_cache
from xml.parsers.expat import ExpatError, ParserCreate

from curate.gates.asked_length import ITEM
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.formatted import OPTIONAL_END, open_tags
from curate.gates.phrases import words_of
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words


def wrong_format(asked: str, text: str) -> str:
    """Return the data format that an instruction asks for, if the text is in another one or not well formed; or ''."""
    name = format_asked(asked)
    if not name:
        return ""
    fenced = _FENCE.search(text)
    body = (fenced[1] if fenced else text).strip()
    return "" if not body or _IS[name](body) else name


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def format_asked(asked: str) -> str:
    """Return the data format that an instruction asks for, or ''."""
    folded = fold(asked)
    if _markdown_table().search(folded):
        return "markdown"
    names = set(_NAMES.findall(folded))
    request = _asks_for().search(folded) or _asks_behind().search(folded) if len(names) == 1 else None
    return request["name"] if request else ""


_FENCE = re.compile(r"```[\w+-]*[^\S\n]*\n([\s\S]*?)\n?```")
_NAMES = re.compile(r"(?<![a-z])(?:csv|tsv|ya?ml|xml|html|json|markdown|md|latex|toml|table|sql)(?![a-z])")
# The format is asked for, not what the instruction is about: `a parser for CSV`, `turn the CSV into sentences`.
_asks_for = word_pattern(
    r"(?:\A\W*|[.:;!,\u3002\uff0c]\s*|(?<![^\W\u3040-\u9fff]){format_verbs}\s(?:(?!{for_what}\s)[^\W\d_]{1,7}\s|{format_qualities}\s)?|{format_verbs_joined}\s?)(?P<name>csv|tsv|yaml|xml|html)"
    r"(?![a-z]|\s?\?)(?!-?\s?[a-z-]*{format_carriers})"
)
_markdown_table = word_pattern(
    r"(?<![a-z])markdown[ -]?(?:{forms_table}|表)(?!\w)|(?<!\w){forms_table}\s(?:[^\W\d_]{1,7}\s)?markdown"
)
_asks_behind = word_pattern(r"(?P<name>csv|tsv|yaml|xml|html)\s?{format_particles}")


def begins_with_key(asked: str, text: str) -> bool:
    """Whether a text in the YAML that an instruction asks for begins with a key, not with the label of an answer."""
    key = _KEY.match(text) if format_asked(asked) == "yaml" else None
    return key is not None and fold(key[1]) not in words_of("answer_labels") and _is_yaml(text.strip())


def _is_table_of_values(body: str, delimiters: str = ",;\t|") -> bool:
    """Whether every line has the same number of values. One column is enough if no line is a sentence or an item."""
    lines = [line for line in body.splitlines() if line.strip()]
    delimiter = max(delimiters, key=lines[0].count)
    if body[0] in "{[<":
        return False
    if not lines[0].count(delimiter):
        return not any(ITEM.match(line) or line.rstrip().endswith((".", "!", "{", "}", "\u3002")) for line in lines)
    if ITEM.match(lines[0]) and not lines[0].startswith("|"):
        return False
    widths = {len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)}
    prose = len(lines) == 1 and lines[0].endswith((".", "!")) and count_words(body) > _FEW
    return len(widths) == 1 and not prose


def _is_yaml(body: str) -> bool:
    """Whether a text begins like YAML, and each line is indented like one above it, or more below one that opens."""
    if not _YAML_START.match(body):
        return False
    levels, opens, scalar = [0], True, False
    for line in (line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("#")):
        indent = len(line) - len(line.lstrip())
        if (scalar and indent > levels[-1]) or not _ENTRY.match(line):
            continue
        less = indent < levels[-1]
        while indent < levels[-1]:
            levels.pop()
        if "\t" in line[:indent] or (indent > levels[-1] and (less or not opens)):
            return False
        inner = len(line) - len(line.lstrip(" -"))
        levels += [level for level in dict.fromkeys((indent, inner)) if level > levels[-1]]
        opens, scalar = _OPENS.search(line) is not None or inner > indent, line.rstrip()[-1] in "|>-+"
    return True


def has_matching_tags(body: str) -> bool:
    """Whether a text begins with a tag, and every tag that needs an end has it, in the right order."""
    still = open_tags(_NOT_TAGS.sub(" ", body)) if body.startswith("<") else None
    return still is not None and all(tag in OPTIONAL_END for tag in still)


_KEY = re.compile(r"\s*([\w.-]+):(?:\s|\Z)")


def _is_well_formed(body: str) -> bool:
    """Whether a text is one or more XML elements, apart from entities that its document type may define."""
    bare = _ENTITY.sub(" ", _PROLOGUE.sub("", body))
    parser = ParserCreate()
    try:
        parser.Parse(f"<all>{bare}</all>".encode(errors="replace"), True)
    except ExpatError:
        return False
    return bare.strip()[:1] == "<" and bare.rstrip()[-1:] == ">"


_PROLOGUE = re.compile(r"\A(?:\s*(?:<\?xml[^?]*\?>|<!--[\s\S]*?-->|<!DOCTYPE[^<>\[]*(?:\[[^\]]*\]\s*)?>))+")
_ENTITY = re.compile(r"&[A-Za-z]\w{0,30};")
_FEW = 5  # words of a line that may be a sentence
_ENTRY = re.compile(r"\s*(?:-(?:\s|$)|[^\s:#][^:]*:(?:\s|$))")
_OPENS = re.compile(r":(?:\s+[&!]\S+)*(?:\s+#.*)?\s*\Z")  # an anchor, a tag or a comment may stand behind the colon
_YAML_START = re.compile(r"(?:---|%|#.*\n|- ?\S|- *\n|[\"']?[\w./ -]+[\"']?:(?:\s|\Z))")
_NOT_TAGS = re.compile(r"<!--[\s\S]*?(?:-->|\Z)|<\?[\s\S]*?(?:\?>|\Z)|<!\[CDATA\[[\s\S]*?(?:\]\]>|\Z)|<!\w[^<>]*>")
_IS: dict[str, Callable[[str], bool]] = {
    "csv": _is_table_of_values,
    "tsv": lambda body: _is_table_of_values(body, "\t"),
    "yaml": _is_yaml,
    "xml": _is_well_formed,
    "html": has_matching_tags,
    "markdown": lambda body: "|" in body,
}


def uneven_table(text: str) -> str:
    """Return a row of a Markdown table with another number of cells than its first row, or the first row of a table
    without a separator; or ''."""
    if text.count("|") < _MIN_BARS or "```" in text:
        return ""
    rows = [line.strip() for line in text.splitlines() if line.strip().startswith("|") and line.strip().endswith("|")]
    if len(rows) < _MIN_ROWS or len(rows) < len([line for line in text.splitlines() if line.strip().startswith("|")]):
        return ""
    width = len(_cells(rows[0]))
    return next(
        (row for row in rows if len(_cells(row)) != width), "" if any(map(_RULE.fullmatch, rows[:2])) else rows[0]
    )


def _cells(row: str) -> list[str]:
    return _ESCAPED.sub("", row).strip("|").split("|") if row.strip("|") else row[1:-1].split("|")


_MIN_BARS, _MIN_ROWS = 6, 3
_RULE = re.compile(r"[|:\s-]*-[|:\s-]*")
_ESCAPED = re.compile(r"\\\||`[^`\n]*`")


def other_code(asked: str, text: str) -> str:
    """Return the programming language of a text, if an instruction names another one and the text has nothing of it;
    or ''."""
    named = _languages_named(asked)
    if len(named) != 1 or named[0] not in _CODE:
        return ""
    labels = [_SAME.get(label, label) for label in map(str.casefold, _LABEL.findall(text))]
    if named[0] not in labels and (other := next((one for one in labels if one in _LABELS), "")):
        return "" if (other, named[0]) in _KIN else other
    # A query in a string is part of a program in another language.
    if _CODE[named[0]].search(_STRING.sub(" ", text) if named[0] == "sql" else text):
        return ""
    return next((name for name, marks in _CODE.items() if marks.search(text) and (name, named[0]) not in _KIN), "")


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _languages_named(asked: str) -> tuple[str, ...]:
    names = (_SAME.get(name, name) for name in _LANGUAGES.findall(fold(asked)))
    return tuple(dict.fromkeys(names))


_SAME = {
    "js": "javascript",
    "ts": "typescript",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "golang": "go",
    "sh": "bash",
    "shell": "bash",
    "cpp": "c++",
    "csharp": "c#",
    "query": "sql",
}
# Languages (written, asked for) whose marks a text in the other one may have.
_KIN = {
    ("javascript", "typescript"),
    ("typescript", "javascript"),
    ("javascript", "html"),
    ("javascript", "kotlin"),
    ("javascript", "rust"),
    ("c++", "c"),
    ("c", "c++"),
    ("c++", "rust"),
    ("java", "kotlin"),
    ("java", "c#"),
    ("c#", "java"),
    ("bash", "python"),
}
_LANGUAGES = re.compile(
    r"(?<![a-z./])(?:(?<=[ie][nm] )go(?=[.,;\n]|\Z)|go(?=\scode)|python|javascript|typescript|sql|bash|shell|java"
    r"|kotlin|rust|golang|php|ruby|perl|swift|haskell|scala|lua|julia|c\+\+|c#|html|css|react|django|pandas|node|jquery|vue|mongodb|excel)(?![a-z])"
)
_CODE = {
    "python": re.compile(
        r"(?m)^[ \t]*def \w+\(.*:\s*$|^from \w[\w.]* import |^import \w+\s*$|\bprint\(f?[\"']|\blambda \w+:"
    ),
    "javascript": re.compile(
        r"\bconsole\.log\(|\)\s*=>|\bfunction\s*\w*\([^()]*\)\s*\{|(?m:^[ \t]*(?:const|let) \w+\s*=)|===|\.find\(\{"
    ),
    "typescript": re.compile(r"\w\??: (?:string|number|boolean)\b|\binterface \w+ \{"),
    "sql": re.compile(
        r"(?i)\bselect\b[\s\S]{1,400}?\bfrom\b|\binsert into\b|\bupdate \w+ set\b|\bdelete from\b|\bcreate table\b"
    ),
    "bash": re.compile(r"#!/bin/|(?m:^[ \t]*(?:echo|grep|awk|sed|find|ls|for \w+ in|if \[)\b)"),
    "java": re.compile(r"\bpublic (?:static |class |void |int )|System\.out\.|\bString\[\]"),
    "kotlin": re.compile(r"\bfun \w*[\w.]*\("),
    "rust": re.compile(r"\bfn \w+|\blet mut\b|println!|&str\b"),
    "go": re.compile(r"\bfunc (?:\(\w+ \*?\w+\) )?\w+\(|fmt\.Print|:="),
    "php": re.compile(r"<\?php|\$\w+\s*=[^=]|\bfunction \w+\(\$|\becho \$"),
    "ruby": re.compile(r"(?m)^[ \t]*def \w+[?!]?(?:\([^)]*\))?\s*$|\bputs\b|\bdo \|\w+\||^[ \t]*end[ \t]*$"),
    "c++": re.compile(r"#include <\w+>|\bstd::|\bcout\b"),
    "c#": re.compile(r"\bConsole\.Write|\busing System|\bpublic (?:static |class |void |int )"),
}
_STRING = re.compile(r"\"{3}[\s\S]*?\"{3}|\"[^\"\n]*\"")
_LABEL = re.compile(r"```([A-Za-z+#]+)")
_LABELS = frozenset((*_CODE, "c", "haskell", "julia", "lua", "perl", "scala", "swift"))
