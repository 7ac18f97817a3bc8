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
        "argilla/test_command.py: test_run_stops_when_reviewers_reject_the_dataset",
    ),
    "A2 one person counted as two after a rename, or under another key": (
        "argilla/test_aliases.py: test_renamed_user_is_the_same_reviewer",  # loopback double
        "argilla/test_aliases.py: test_answers_of_an_earlier_version_are_attributed_to_their_user",
        "argilla/test_days_of_a_review.py: test_no_answer_is_lost_duplicated_or_wasted",
    ),
    "A3 rows that were shown with a verdict counted as blind": (
        "review/test_sampling.py: test_row_shown_with_an_opinion_is_never_drawn_blind",
    ),
    "A4 a rank was suggested as a verdict": ("argilla/test_task.py: test_no_verdict_is_ever_suggested",),
    "A5 annotators_per_row did not reach the gate": (
        "review/test_gate.py: test_row_needs_the_requested_number_of_annotators",
    ),
    "A6 a party to a dispute could settle it": (
        "review/test_decision.py: test_adjudication_by_a_party_is_reported_and_does_not_count",
        "argilla/test_queues.py: test_only_named_adjudicators_count",
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
        "argilla/test_task.py: test_gold_is_indistinguishable_from_other_rows_used_for_estimates",
        "argilla/test_task.py: test_gold_is_shown_both_blind_and_like_calibration_rows",
        "argilla/test_kinds_in_browser.py: test_row_of_150_words_and_four_candidates_fits_the_screen",
    ),
    "A11 audits of rejected rows showed the objection": (
        "argilla/test_task.py: test_rows_used_for_estimates_are_shown_alone",
    ),
    "A12 answers set aside when the pool grows were told by nobody": (
        "review/test_sampling.py: test_answers_set_aside_by_a_larger_pool_are_counted",
    ),
    "B1 renaming the queue or the task stranded answers": (
        "argilla/test_queues.py: test_renamed_queue_still_returns_its_answers",
        "argilla/test_client.py: test_answers_are_read_from_the_queues_that_rows_were_sent_to",
    ),
    "B2 the page was stale after a change of style": (
        "argilla/test_queues.py: test_push_updates_guidelines_and_annotator_count",
        "argilla/test_queues.py: test_rows_no_longer_needed_are_withdrawn_unless_begun",
        "argilla/test_queues.py: test_changed_reasons_move_unanswered_rows_to_a_new_queue",
    ),
    "B3 a dry pull deleted a draft": (
        "argilla/test_queues.py: test_pull_leaves_a_draft_dataset_with_our_name_alone",
        "argilla/test_client.py: test_only_our_own_drafts_are_removed",
    ),
    "B4 two projects of one name shared a queue": (
        "argilla/test_queues.py: test_two_projects_with_the_same_name_have_separate_queues",
    ),
    "B5 --watch never drew the next batch": ("argilla/test_command.py: test_watching_shows_incoming_answers",),
    "B6 answers were ordered by two clocks": (  # a server's clock can only be set by a test double
        "argilla/test_aliases.py: test_answers_count_even_if_the_servers_clock_is_behind",
        "review/test_decision.py: test_which_answers_count",
    ),
    "B7 empty edits, a space, fields changed by hand, a dataset with other labels": (
        "argilla/test_queues.py: test_added_space_is_not_an_edit_and_unfinished_edit_is_not_adjudicated",
        "argilla/test_queues.py: test_answer_to_a_text_changed_in_argilla_does_not_count",
        "argilla/test_queues.py: test_dataset_with_our_name_and_other_labels_is_left_alone",
    ),
    "C1 the shell's secrets were written to disk": (
        "argilla/test_server_privacy.py: test_no_secret_of_the_shell_reaches_a_process_or_file",
    ),
    "C2 WEB_CONCURRENCY broke the server, and it was waited for": (
        "argilla/test_server_privacy.py: test_no_secret_of_the_shell_reaches_a_process_or_file",
        "argilla/test_server_privacy.py: test_server_that_ends_while_starting_is_reported_at_once",
    ),
    "C3 who was invited for one project saw all": (
        "argilla/test_people.py: test_annotator_sees_only_the_project_of_the_invitation",
    ),
    "C4 a home that existed kept its mode": (
        "argilla/test_server_privacy.py: test_server_files_are_readable_only_by_their_owner",
    ),
    "C5 a search could stall everybody": ("argilla/test_engine_contract.py: test_queries_are_parsed_in_linear_time",),
    "C6 a public bind said nothing of TLS, told 127.0.0.1 to others, let passwords be guessed": (
        "argilla/test_server_privacy.py: test_public_server_is_shown_with_its_public_url_and_a_warning",
        "argilla/test_people.py: test_public_url_is_reachable_by_others",
        "argilla/test_people.py: test_password_guessing_is_slowed_down_per_name",
    ),
    "C7 invite lost passwords, and nothing set a new one": (
        "argilla/test_people.py: test_invitations_and_passwords",
        "argilla/test_people.py: test_passwords_are_returned_even_if_a_later_invitation_fails",
        "argilla/test_command.py: test_existing_user_is_added_and_can_get_a_new_password",
    ),
    # Argilla's own: the missing Content-Security-Policy and filters by hidden metadata are in docs/review.md.
    "C8 every origin could call the server": (
        "argilla/test_server.py: test_pages_of_other_origins_may_not_call_the_server",
    ),
    "D1 port and host were forgotten": (
        "argilla/test_server_faults.py: test_start_options_are_remembered",
        "argilla/test_days_of_a_review.py: test_no_answer_is_lost_duplicated_or_wasted",
    ),
    "D2 options for a running server were ignored": (
        "argilla/test_server_faults.py: test_other_options_for_a_running_server_are_refused",
    ),
    "D3 a private Space could not be used": (  # its proxy is a test double
        "argilla/test_client.py: test_extra_headers_are_sent_with_every_call",
    ),
    "D4 down failed without server.json": (
        "argilla/test_server_faults.py: test_down_finds_a_server_whose_state_could_not_be_written",
    ),
    "D5 no backup, no restore": ("argilla/test_backup.py: test_backup_of_a_running_server_is_restored_completely",),
    "D6 indexes, logs, vectors in memory and scratch folders grew for ever": (
        "argilla/test_queues.py: test_deleted_queue_leaves_nothing_in_the_index",
        "argilla/test_server_faults.py: test_log_size_is_limited",
        "argilla/test_engine_answers.py: test_only_recently_used_vectors_stay_in_memory",
        "argilla/test_server_faults.py: test_leftovers_of_a_killed_supervisor_are_removed",
    ),
    "D7 the status of a review elsewhere spoke of our own server": (
        "argilla/test_client.py: test_status_of_a_remote_review_shows_its_url",
    ),
    "D8 on macOS Redis outlived a killed supervisor": (  # a stand-in on Linux
        "argilla/test_server_faults.py: test_leftovers_of_a_killed_supervisor_are_removed",
    ),
    "E1 1, Enter failed where the program agreed": (
        "argilla/test_kinds_in_browser.py: test_every_kind_of_task_can_be_answered_by_keyboard",
        "argilla/test_kinds_in_browser.py: test_keys_have_one_meaning",
    ),
    "E2 accept with a reason went through": (
        "argilla/test_kinds_in_browser.py: test_contradictory_answer_needs_confirmation",
    ),
    "E3 the house style was not on the row": (
        "argilla/test_kinds_in_browser.py: test_row_of_150_words_and_four_candidates_fits_the_screen",
        "argilla/test_task.py: test_rule_doubted_by_a_gate_or_judge_is_marked_unless_the_row_is_blind",
    ),
    "E4 four candidates of 100 words were below the fold": (
        "argilla/test_kinds_in_browser.py: test_row_of_150_words_and_four_candidates_fits_the_screen",
    ),
    "E5 search found the markup and missed the text": (
        "argilla/test_own_routes.py: test_search_finds_displayed_text_and_not_markup",
        "argilla/test_own_routes.py: test_search_ignores_the_house_style",
    ),
    "E6 nearly the whole input was struck through": (
        "argilla/test_task.py: test_differences_are_marked_only_if_the_task_keeps_words",
        "argilla/test_task.py: test_difference_marks_the_smaller_part",
    ),
    "E7 a lone person had two queues and no address": (
        "argilla/test_queues.py: test_single_annotator_has_one_queue_and_its_address",
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
