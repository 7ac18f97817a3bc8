"""Data written and read in batches equals what used to be held in memory as a whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.export.files import change_manifest, manifest_rows, read_manifest, write_manifest
from curate.gates.words import _STEMMERS, has_stemmer, stemmer_for
from schemas.identity import content_id, content_id_of
from schemas.streamed import Streamed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)


class Squares(Streamed[int]):
    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        return (number * number for number in range(self._rows))


@given(st.integers(0, 6), st.integers(-7, 7))
def test_a_streamed_list_is_a_list(rows: int, place: int) -> None:
    """It can be iterated more than once, indexed and sliced, and equals the list of its rows."""
    streamed, plain = Squares(rows), [number * number for number in range(rows)]
    assert list(streamed) == list(streamed) == plain
    assert streamed == plain
    assert (streamed == [*plain, 0]) is False
    assert (bool(streamed), streamed[place:], streamed[::2]) == (bool(plain), plain[place:], plain[::2])
    if -rows <= place < rows:
        assert streamed[place] == plain[place]
    else:
        with pytest.raises(IndexError):
            streamed[place]


@given(st.lists(JSON, min_size=1, max_size=3), st.lists(JSON, max_size=4))
def test_an_id_of_a_stream_is_the_id_of_its_list(parts: list[Any], last: list[Any]) -> None:
    """A dataset has the same id as when its rows were hashed as one list."""
    assert content_id_of("artifact", parts, iter(last)) == content_id("artifact", [*parts, last])


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != "rows"), JSON, min_size=1, max_size=3),
       st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), min_size=1, max_size=3))  # fmt: skip
def test_streamed_manifest_equals_one_document(
    tmp_path_factory: pytest.TempPathFactory, head: Any, rows: list[Any]
) -> None:
    """It has the bytes of a document written at once, and changing its head leaves the rows alone."""
    path = tmp_path_factory.mktemp("m") / "manifest.json"
    write_manifest(path, head, iter(rows))
    assert path.read_bytes() == orjson.dumps({**head, "rows": rows}, option=orjson.OPT_INDENT_2)
    assert read_manifest(path) == head
    assert list(manifest_rows(path)) == rows
    change_manifest(path, {**head, "id": "another"})
    assert orjson.loads(path.read_bytes()) == {**head, "id": "another", "rows": rows}


def test_manifest_in_another_layout_is_read_and_changed_too(tmp_path: Path) -> None:
    """Another program may have written it on one line."""
    path = tmp_path / "manifest.json"
    path.write_bytes(b'{"id": "x", "rows": [1]}')
    assert read_manifest(path) == {"id": "x", "rows": [1]}
    assert list(manifest_rows(path)) == [1]
    change_manifest(path, {"id": "y"})
    assert orjson.loads(path.read_bytes()) == {"id": "y"}


@pytest.mark.slow
def test_rows_of_a_manifest_are_read_one_at_a_time(tmp_path: Path) -> None:
    """Training asks which rows were edited. It parsed the whole manifest for that, some 4 KB of JSON a row: 200 MB at
    10,000 rows, and 2 GB at 100,000."""
    path, verdicts = tmp_path / "manifest.json", [[f"gate/{number}@1", "0" * 32, True, "ok"] for number in range(40)]
    write_manifest(path, {"id": "x"}, ({"pair_id": str(number), "verdicts": verdicts} for number in range(1_000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in manifest_rows(path)) == 1_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 500_000 < path.stat().st_size / 5


@pytest.mark.parametrize("language", sorted(_STEMMERS))
def test_every_listed_stemmer_exists(language: str) -> None:
    """The Snowball algorithm listed for a language exists, so its inflections are taken into account."""
    assert has_stemmer(language)
    assert stemmer_for(language)("x1")


def test_inflected_forms_share_a_stem() -> None:
    """In languages of several families; words of a language without a stemmer are unchanged."""
    forms = {"en": "walk walking walked", "de": "häuser häusern", "fi": "talossa talosta", "ru": "книга книги"}
    for language, words in forms.items():
        assert len(set(map(stemmer_for(language), words.split()))) == 1, language
    assert stemmer_for("th")("words") == "words"
