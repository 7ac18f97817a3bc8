"""Tests that what commands show is complete and aligned."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from pairsmith.receipts.outcome import ExportOutcome, PreviewOutcome
from pairsmith.stages.generate import describe_failure
from pairsmith.stages.preview import shown as preview_shown
from pairsmith.style import charts, numbers
from pairsmith.style.reasons import shorten_ids
from pairsmith.terminal import screen
from pairsmith.terminal.failures import show_error
from pairsmith.terminal.session import Session
from pairsmith.terminal.stopping import Stopping
from pairsmith.terminal.watching import NOBODY
from pairsmith.terminal.wrapping import wrapped
from pairsmith.user_file.guess import guess
from pairsmith.user_file.guessed_spec import spec_text
from schemas.errors import TeacherError
from schemas.money import dollars
from schemas.records import Counts
from schemas.spec_file import parse


def test_names_are_not_cut_and_values_are_aligned() -> None:
    """A long name such as `pairsmith.toml` is not cut off, and all values start in the same column."""
    outcome = ExportOutcome(counts=Counts(rows_in=3, accepted=3))
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen.stage("export", outcome, [("dataset", "there"), ("pairsmith.toml", "there too")]))
    first, dataset, spec, cost = captured.get().splitlines()
    assert spec.startswith("pairsmith.toml  there too")
    assert {first.index("3 rows"), dataset.index("there"), cost.index("0 requests")} == {spec.index("there")}


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A teacher's text or an endpoint's error may contain escape sequences that set a title, clear the screen or make
    the terminal type, and a row's text some that hide or colour what follows. They are shown escaped; letters, line
    ends and tabs stay."""
    sequences = "\x1b]0;mine\x07 \x1b[2J \x1b[6n \x9b0c \x00 a\tcafé\nb"
    session = Session(Path(), {}, None, Stopping(), NOBODY)
    session.say(sequences)
    session.show(sequences)
    show_error(TeacherError(sequences, where="the teacher"))
    out, err = capsys.readouterr()
    row = ("input", "red \x1b[31mis \x1b[8mhidden"), ("output", "")
    session.show(screen.entry("[bold]951c8c13eaf9[/]", row), screen.facts([("answer", "\x1b[31mred")]), "\x1b[31mred")
    assert capsys.readouterr().out.splitlines() == [
        "951c8c13eaf9",
        "  input   red \\x1b[31mis \\x1b[8mhidden",
        "",
        "answer       \\x1b[31mred",
        "\\x1b[31mred",
    ]
    for shown in (out, err):
        assert {char for char in shown if ord(char) < 32 or 127 <= ord(char) < 160} <= {"\n", "\t"}
        assert "\\x1b]0;mine" in shown
        assert "\\x1b[2J \\x1b[6n \\x9b0c" in shown
        assert "café\nb" in shown


def test_one_is_shown_in_the_singular(tmp_path: Path) -> None:
    """A count of one uses the singular: a failed row, one further reason, one word per output."""
    one, two = ({"what": "empty: no text", "rows": rows, "first": "s.jsonl:3"} for rows in (1, 1_200))
    assert describe_failure(one) == "empty: no text (1 row, from s.jsonl:3)"
    assert describe_failure(two) == "empty: no text (1,200 rows, the first from s.jsonl:3)"
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen.reasons({f"reason_{n:02}": 20 - n for n in range(13)}))
    assert captured.get().splitlines()[-1].split() == ["8", "1", "other", "reason"]
    path = tmp_path / "asked.csv"
    path.write_text("text,label\n" + "".join(f"where is my parcel {n},{'yes' if n % 2 else 'no'}\n" for n in range(8)))
    assert "# The outputs have 1 word.\n" in spec_text(path, guess(path), "asked")


def test_numbers_are_formatted_consistently() -> None:
    """Report and pages write 1,600 as the terminal, the manual and the dataset card do, so that a number can be found
    in any of them."""
    assert numbers.count(1_600) == f"{1_600:,}"
    assert numbers.counted(1_600, "row", "rows") == "1,600 rows"
    assert numbers.rounded(-1234.5) == "\u22121,234.5"


def test_intervals_are_formatted_consistently(tmp_path: Path) -> None:
    """Forecast, preview and pages show both ends of a cost, a single value if both read the same, and nothing below
    zero."""
    assert numbers.between({"low": -0.2, "high": 3}, dollars, "unknown") == "at most $3.00"
    assert numbers.between(None, dollars, "unknown") == "unknown"
    outcome = PreviewOutcome(left_candidates=2, left_seeds=1, left_usd={"low": 0.0, "high": 0.0})
    console = Console(width=100)
    with console.capture() as captured:
        console.print(*preview_shown(parse('[task]\nname = "a"\nstyle = "b"\n', tmp_path), outcome))
    assert "2 candidates of 1 seed, free\n" in "\n".join(map(str.rstrip, captured.get().splitlines())) + "\n"


def test_kinds_of_seeds_are_counted_with_nouns() -> None:
    """Counts of seeds are worded as in speech, e.g. "1 input and 2 outputs"."""
    assert numbers.seeds({"pair": 1_260}) == "1,260 pairs"
    assert numbers.seeds({"input": 1, "output": 2}) == "1 input and 2 outputs"
    assert numbers.seeds({"input": 1, "output": 2, "pair": 3}) == "1 input, 2 outputs and 3 pairs"


def test_histograms_of_whole_numbers_have_one_bar_per_number() -> None:
    """Word counts are whole numbers: a histogram of one to three words has no fractional bars, and axis labels only at
    bar edges."""
    words = charts.bins([1, 1, 2, 3, 3], [1, 2])
    assert [(one.low, one.high, one.everything) for one in words] == [(1, 2, 2), (2, 3, 3)]
    one = charts.histogram(charts.bins([1, 1], [1]), "words")
    assert re.findall(r">([\d.]+)</text>", one) == ["2", "1", "2"]
    assert len(charts.bins([0.1, 0.35, 0.4], [])) > 3


def test_pair_ids_in_messages_are_shortened() -> None:
    """Messages show the first twelve characters of a pair's id, as lists do; other numbers stay whole."""
    sentence = "71% like accepted pair 951c8c13eaf9173a2f44bb706a6da4e8, invoice 12345678901234567890"
    assert shorten_ids(sentence) == "71% like accepted pair 951c8c13eaf9, invoice 12345678901234567890"


def test_two_prompts_of_one_name_are_distinguished() -> None:
    """A user's own prompt and the built-in one can both be enhance/v1: two lines of `spent on` had the same name and
    different figures."""
    cost = {"usd_known": 0.5, "unpriced_requests": 0, "usd_reserved": 0, "lost_requests": 0, "stage": "generate"}
    refs = ["enhance/v1@aaaa", "enhance/v1@bbbb", "simplify/v1@cccc"]
    costs = [{**cost, "requests": n, "prompt": ref} for n, ref in enumerate(refs, 1)]
    ledger = {**cost, "requests": 6, "costs": costs, "usd_per_accepted_row": None, "max_usd": None}
    lines = [value.partition(":")[0] for _, value in screen.spending(ledger)[1:]]
    assert lines == ["generate, enhance/v1@aaaa", "generate, enhance/v1@bbbb", "generate, simplify/v1"]


def test_reasons_in_the_status_add_up() -> None:
    """Six reasons are named and the rest is counted as others, so that they add up to the number of rejected rows."""
    from pairsmith.commands.status import _summarized

    reasons = Counter({f"reason{n}": n for n in range(1, 9)})
    assert _summarized(reasons) == "reason8 8, reason7 7, reason6 6, reason5 5, reason4 4, reason3 3, others 3"
    assert _summarized(Counter(a=1)) == "a 1"


def test_commands_in_messages_get_the_project_options() -> None:
    """A command copied from the output of `certify --project ...` used to draw rows of the current folder. Commands
    that take no project, or already name it, stay unchanged."""
    session = Session(Path("own data"), ("curate.score.model=none",), None, Stopping())
    place = "--project 'own data' --set curate.score.model=none"
    assert session.with_project_options("About 5 more (`pairsmith review push` draws rows).") == (
        f"About 5 more (`pairsmith review push {place}` draws rows)."
    )
    assert session.with_project_options("See `pairsmith doctor --set train.base=NAME`.") == (
        f"See `pairsmith doctor {place} --set train.base=NAME`."
    )
    assert session.with_project_options("`pairsmith serve-model`, `pairsmith teacher up --model M -- --seed 1`") == (
        f"`pairsmith serve-model {place}`, `pairsmith teacher up {place} --model M -- --seed 1`"
    )
    assert session.with_project_options("`pairsmith try 'a --set b'`") == f"`pairsmith try 'a --set b' {place}`"
    alone = "`pairsmith docs spec`, `pairsmith models`, `pairsmith serve`, `pairsmith init DIR`"
    for sentence in (alone, f"`{session.command('run')}`", "`review push`"):
        assert session.with_project_options(sentence) == sentence
    assert Session(Path(), (), None, Stopping()).with_project_options("`pairsmith run`") == "`pairsmith run`"


@pytest.mark.parametrize("width", [20, 45, 80, 300])
def test_no_line_ends_within_a_command(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in a value of `status`, in a note or in a fix is on one line, whatever its project is called, also
    beside a parenthesis; other words wrap at the width, and Chinese, which has no spaces, between any two letters, but
    not within a URL in it."""
    monkeypatch.setenv("COLUMNS", str(width))
    for folder in ("pp a/q", "my täsk's $HOME `x` dir", "C:\\my files", 'a"b'):
        session = Session(Path(folder), ("task.style=it's `so`, or not",), None, Stopping())
        for command in (session.command("run"), f"(`{session.command('review push --limit 3')}`)."):
            text = (
                f"The teacher answered no row at all; {command} asks once more, 每个问题都会再问一次而且不会重复计费的."
            )
            console = Console(width=width, file=io.StringIO())
            with console.capture() as captured:
                console.print(screen.facts([("why", text)]), crop=False)
            for shown, beside in ((captured.get(), 13), (wrapped(text, "  "), 2)):
                lines = shown.splitlines()
                assert sum(command in line for line in lines) == 1
                others = [cell_len(line) for line in lines if command not in line]
                assert max(others, default=0) <= max(width, beside + len("answered"))
                assert " ".join(shown.split()).replace(" ", "").endswith(text.replace(" ", ""))
    page = "https://example.org/some/page"
    assert page in re.split(r"[^!-~]+", wrapped(f"每个问题都会再问一次请看{page}再试一次").replace("\n", "每"))
    assert wrapped("  pairsmith run --project 'a long name of a folder, longer than the line'").startswith("  pair")
