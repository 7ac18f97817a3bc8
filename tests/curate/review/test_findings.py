"""The defects that an audit of human review found, and the tests that keep them fixed.

Every finding was reproduced on the version of its time; the tests next to it guarantee the opposite. Findings about a
server are tested on a real one, with SQLite, and with PostgreSQL by `make test-postgresql`; those about the page in a
real Chromium. Exceptions are marked.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

CURATE = Path(__file__).parents[1]

# finding: what was wrong -> one or more `file: test`
FINDINGS = {
    "A1 the gate opened on a set that people rejected whole": (
        "review/test_gate.py: test_fully_rejected_set_does_not_pass",
        "argilla/test_command.py: test_the_loop_stops_where_people_reject_the_set",
    ),
    "A2 one person counted as two after a rename, or under another key": (
        "argilla/test_aliases.py: test_a_new_name_makes_no_new_answers_and_no_second_person",  # loopback double
        "argilla/test_aliases.py: test_answers_of_an_earlier_version_are_joined_to_their_author",
        "argilla/test_days_of_a_review.py: test_no_label_is_lost_doubled_or_wasted",
    ),
    "A3 rows that were shown with a verdict counted as blind": (
        "review/test_sampling.py: test_row_shown_with_an_opinion_is_never_drawn_blind",
    ),
    "A4 a rank was suggested as a verdict": (
        "argilla/test_task.py: test_no_verdict_is_suggested_whatever_programs_say",
    ),
    "A5 annotators_per_row did not reach the gate": (
        "review/test_gate.py: test_row_needs_the_requested_number_of_annotators",
    ),
    "A6 a party to a dispute could settle it": (
        "review/test_decision.py: test_adjudication_by_a_party_is_reported_and_does_not_count",
        "argilla/test_queues.py: test_who_may_settle_can_be_named",
    ),
    "A7 intervals covered less than promised": (
        "review/test_estimate.py: test_interval_of_two_strata_has_the_promised_coverage",
        "review/test_estimate.py: test_anytime_interval_of_the_gate_holds_at_all_looks",
    ),
    "A8 the stored probability was taken for a weight": (
        "review/test_sampling.py: test_current_probabilities_weight_the_sample_to_the_population",
    ),
    "A9 nobody was told how good the accepted rows are": (
        "review/test_gate.py: test_gate_uses_the_share_of_rows_to_train_on",
    ),
    "A10 gold could be told from other rows, by choices that a row does not have": (
        "argilla/test_task.py: test_nothing_tells_gold_from_the_other_rows_that_a_measure_stands_on",
        "argilla/test_task.py: test_gold_occurs_in_both_forms",
        "argilla/test_kinds_in_browser.py: test_a_row_of_150_words_and_four_candidates_is_whole_in_view",
    ),
    "A11 audits of rejected rows showed the objection": (
        "argilla/test_task.py: test_rows_that_a_measure_stands_on_are_judged_by_themselves",
    ),
    "A12 answers set aside when the pool grows were told by nobody": (
        "review/test_sampling.py: test_answers_set_aside_by_a_larger_pool_are_counted",
    ),
    "B1 renaming the queue or the task stranded answers": (
        "argilla/test_queues.py: test_whatever_a_queue_is_called_its_answers_come_back",
        "argilla/test_client.py: test_answers_are_read_where_the_rows_were_sent",
    ),
    "B2 the page was stale after a change of style": (
        "argilla/test_queues.py: test_a_changed_spec_is_on_the_page_after_the_next_push",
        "argilla/test_queues.py: test_rows_that_nobody_needs_are_taken_back_unless_somebody_began",
        "argilla/test_queues.py: test_with_other_reasons_the_rows_go_on_in_another_queue",
    ),
    "B3 a dry pull deleted a draft": (
        "argilla/test_queues.py: test_a_dry_pull_leaves_a_draft_that_somebody_made",
        "argilla/test_client.py: test_only_a_draft_of_ours_is_removed",
    ),
    "B4 two projects of one name shared a queue": ("argilla/test_queues.py: test_two_projects_of_one_name_never_meet",),
    "B5 --watch never drew the next batch": ("argilla/test_command.py: test_watching_tells_what_comes_in",),
    "B6 answers were ordered by two clocks": (  # only a test double can set a server's clock
        "argilla/test_aliases.py: test_a_server_whose_clock_is_behind_does_not_silence_anybody",
        "review/test_decision.py: test_which_answers_count",
    ),
    "B7 empty edits, a space, fields changed by hand, a dataset with other labels": (
        "argilla/test_queues.py: test_spaces_are_no_edit_and_an_edit_without_a_text_is_nobody_elses_to_finish",
        "argilla/test_queues.py: test_an_answer_to_a_text_that_was_changed_in_argilla_does_not_count",
        "argilla/test_queues.py: test_a_dataset_with_our_questions_and_other_labels_is_left_alone",
    ),
    "C1 the shell's secrets were written to disk": (
        "argilla/test_server_privacy.py: test_no_secret_of_the_shell_reaches_a_process_or_a_file",
    ),
    "C2 WEB_CONCURRENCY broke the server, and it was waited for": (
        "argilla/test_server_privacy.py: test_no_secret_of_the_shell_reaches_a_process_or_a_file",
        "argilla/test_server_privacy.py: test_a_server_that_ends_while_it_starts_is_not_waited_for",
    ),
    "C3 who was invited for one project saw all": (
        "argilla/test_people.py: test_who_is_invited_to_one_project_sees_no_other",
    ),
    "C4 a home that existed kept its mode": (
        "argilla/test_server_privacy.py: test_what_the_server_keeps_is_readable_by_its_owner_alone",
    ),
    "C5 a search could stall everybody": (
        "argilla/test_engine_contract.py: test_a_search_is_read_in_time_as_long_as_it_is",
    ),
    "C6 a public bind said nothing of TLS, told 127.0.0.1 to others, let passwords be guessed": (
        "argilla/test_server_privacy.py: test_a_server_that_others_reach_is_told_with_the_address_that_they_reach",
        "argilla/test_people.py: test_the_address_for_others_is_one_that_others_can_reach",
        "argilla/test_people.py: test_guessing_a_password_gets_slower_and_slower_for_that_name_alone",
    ),
    "C7 invite lost passwords, and nothing set a new one": (
        "argilla/test_people.py: test_no_password_is_lost",
        "argilla/test_people.py: test_who_was_made_is_told_even_if_the_next_cannot_be",
        "argilla/test_command.py: test_a_user_who_is_there_is_let_in_and_may_get_another_password",
    ),
    # Argilla's own: the missing Content-Security-Policy and filters by hidden metadata are in docs/review.md.
    "C8 every origin could call the server": ("argilla/test_server.py: test_no_page_of_another_origin_may_call_it",),
    "D1 port and host were forgotten": (
        "argilla/test_server_faults.py: test_what_a_server_was_started_with_is_remembered",
        "argilla/test_days_of_a_review.py: test_no_label_is_lost_doubled_or_wasted",
    ),
    "D2 options for a running server were ignored": (
        "argilla/test_server_faults.py: test_options_that_a_running_server_cannot_take_are_refused",
    ),
    "D3 a private Space could not be used": (  # its proxy is a test double
        "argilla/test_client.py: test_headers_that_a_proxy_wants_go_with_every_call",
    ),
    "D4 down failed without server.json": (
        "argilla/test_server_faults.py: test_down_finds_a_server_whose_state_could_not_be_written",
    ),
    "D5 no backup, no restore": ("argilla/test_backup.py: test_a_copy_of_a_running_server_comes_back_with_everything",),
    "D6 indexes, logs, vectors in memory and scratch folders grew for ever": (
        "argilla/test_queues.py: test_a_deleted_queue_leaves_nothing_in_the_index",
        "argilla/test_server_faults.py: test_logs_do_not_grow_for_ever",
        "argilla/test_engine_answers.py: test_vectors_in_memory_are_those_last_asked_for",
        "argilla/test_server_faults.py: test_what_a_killed_supervisor_left_is_cleared",
    ),
    "D7 the status of a review elsewhere spoke of our own server": (
        "argilla/test_client.py: test_the_status_of_a_review_elsewhere_says_where",
    ),
    "D8 on macOS Redis outlived a killed supervisor": (  # a stand-in on Linux
        "argilla/test_server_faults.py: test_what_a_killed_supervisor_left_is_cleared",
    ),
    "E1 1, Enter failed where the program agreed": (
        "argilla/test_kinds_in_browser.py: test_every_kind_of_task_is_answered_by_keys_alone",
        "argilla/test_kinds_in_browser.py: test_no_key_means_two_things",
    ),
    "E2 accept with a reason went through": (
        "argilla/test_kinds_in_browser.py: test_an_answer_that_contradicts_itself_is_asked_for_again",
    ),
    "E3 the house style was not on the row": (
        "argilla/test_kinds_in_browser.py: test_a_row_of_150_words_and_four_candidates_is_whole_in_view",
        "argilla/test_task.py: test_a_rule_that_a_program_doubts_is_marked_unless_the_row_is_blind",
    ),
    "E4 four candidates of 100 words were below the fold": (
        "argilla/test_kinds_in_browser.py: test_a_row_of_150_words_and_four_candidates_is_whole_in_view",
    ),
    "E5 search found the markup and missed the text": (
        "argilla/test_own_routes.py: test_a_search_finds_what_is_read_and_not_the_markup",
        "argilla/test_own_routes.py: test_a_search_finds_what_is_of_the_row",
    ),
    "E6 nearly the whole input was struck through": (
        "argilla/test_task.py: test_a_difference_is_marked_only_where_words_are_meant_to_be_kept",
        "argilla/test_task.py: test_the_smaller_part_of_the_difference_is_marked",
    ),
    "E7 a lone person had two queues and no address": (
        "argilla/test_queues.py: test_who_is_alone_has_one_queue_and_its_address",
    ),
}
# The last finding was about the structure of the code, which no test covers.


@cache
def _tests_of(file: str) -> set[str]:
    tree = ast.parse((CURATE / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_has_its_test(finding: str) -> None:
    """The tests in the table exist, so a renamed or deleted one is noticed here."""
    for place in FINDINGS[finding]:
        file, _, name = place.partition(": ")
        assert name in _tests_of(file), place
