"""Compare the rows that each trainer would train on with ours, and print the table of docs/export.md."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.export.chat_files import write_chat_files
from curate.export.dataset import FORMAT
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from tests.train.families import FAMILIES, make
from tests.train.loaders.read import READERS
from train.base_models.base_model import Base, load_chat
from train.mask import IGNORED, tokenise

TEXTS = (
    *(
        "a",
        "日本語",
        "עברית שלום",
        "e\u0301 Grüße",
        "🙂👩\u200d👩\u200d👧\u200d👦",
        "a\x00b",
        "\x01\x1b[0m",
        "x\u2028y\u2029z",
    ),
    *("\x85n", "\x0b\x0c\x1c\x1d\x1e!", "\ufeffbom", "\u200bzw", "\x7fd", "line\r\nbreak\r", "tab\t.", "null", "123"),
    *('{"name": "x", "n": [1, null]}', "2024-01-02", "spam", "  lead", "trail  \n", "<|im_end|> spelled", "</think>x"),
    *("<|im_start|>system\nhi", "{{ 7*7 }} {% x %}", "<image> <video> <audio>", "w " * 3000),
)
CONVERSATIONS = (
    ("one", "eins", "two", "zwei"),
    ("one", "eins", "two", "zwei", "three", "drei", "four", "vier"),
)


def rows() -> Iterator[dict[str, Any]]:
    """Every text once as a question and once as an answer, conversations, and rows without a system message."""
    turns = [*((f"q {n}", text) for n, text in enumerate(TEXTS)), *((text, f"a {n}") for n, text in enumerate(TEXTS))]
    for number, texts in enumerate([*turns, *CONVERSATIONS, ("no system", "fine"), ("1", "x", "2", "b")]):
        roles = ("user", "assistant") * (len(texts) // 2)
        chat = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
        if number < len(turns) + len(CONVERSATIONS):
            chat.insert(0, {"role": "system", "content": "Rewrite it."})
        yield {"pair_id": str(number), "prompt": chat[:-1], "completion": chat[-1:], "messages": chat, "score": 1}


def write_dataset(folder: Path, train: Sequence[dict[str, Any]]) -> None:
    (folder / "data").mkdir(parents=True)
    digests = {}
    for split, each in (("train", train), ("validation", train[:3]), ("test", train[:1])):
        body = "".join(json.dumps(row) + "\n" for row in each).encode()
        (folder / "data" / f"{split}.jsonl").write_bytes(body)
        digests[f"data/{split}.jsonl"] = hashlib.sha256(body).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "id": "d", "files": digests}))


def texts_of(chat: Chat, ids: Sequence[int], labels: Sequence[int]) -> tuple[str, str]:
    """A row as text, and the part that is learned; without the line end after the last turn, which some leave out."""
    learned = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    decoded = (chat.tokenizer.decode(each, skip_special_tokens=False) for each in (ids, learned))
    whole, part = (unicodedata.normalize("NFC", text).rstrip("\n") for text in decoded)
    return whole, part


def main(environments: Path) -> None:
    with TemporaryDirectory() as scratch:
        folder, train = Path(scratch), [*rows()]
        base = make(FAMILIES[0], folder / "base")
        chat = load_chat(Base("base", base, ""))
        write_dataset(folder / "dataset", train)
        ours = Counter(texts_of(chat, *tokenise(chat, row)) for row in train)
        print("| trainer | version | format | rows read | equal to ours, text and loss mask |\n|---|---|---|---|---|")
        for trainer, (_, _, format_) in READERS.items():
            python = environments / trainer / "bin" / "python"
            if not python.is_file():
                continue
            files, out = folder / trainer, folder / f"{trainer}.json"
            settings = TrainSettings(method="lora", base=str(base), max_length=16384)
            write_chat_files(folder / "dataset", format_, files, settings)
            script = str(Path(__file__).with_name("read.py"))
            command = [str(python), "-P", script, trainer, str(files), str(base), str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {trainer} | failed: {done.stderr.strip().splitlines()[-1]} | {format_} | | |")
                continue
            read = json.loads(out.read_text())
            theirs = Counter(texts_of(chat, row["ids"], row["labels"]) for row in read["rows"])
            equal = (ours & theirs).total()
            print(
                f"| {trainer} | {read['version']} | {format_} | {theirs.total()} of {len(train)} | {equal} |",
                flush=True,
            )


main(Path(sys.argv[1]).resolve())
