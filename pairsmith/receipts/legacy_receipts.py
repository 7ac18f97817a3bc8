"""Receipts of pairsmith 0.1, which hashed the size and time of files, where later versions hash their content.

Such a receipt has no single settings, only a hash of the whole spec. So its stage counts as done if the spec has not
changed in anything that version 0.1 knew (a key added since matters only if it is set), if everything that can be
compared by content is the same (the seeds, the files of gates), and if its output exists. If in doubt, the stage is not
done: running it again is cheap, because answers, adapters and evaluations are reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas import old_keys
from schemas.errors import PairsmithError
from schemas.project import Project
from schemas.records import Receipt, content_id
from schemas.store import Store

_SAMPLING = "temperature top_p top_k max_tokens seed stop repetition_penalty no_repeat_ngram_size extra"
_KEYS = {
    "": "task seeds exemplars teacher generate curate review split train evaluate store",
    "task": "kind name system style language",
    "seeds": "path kind format columns split license limit",
    "exemplars": "simple enhanced",
    "teacher": "url model revision identity key_env concurrency timeout_s attempts retries"
    " usd_per_million_prompt_tokens usd_per_million_completion_tokens",
    "generate": "forward backward accepted",
    "generate.forward": "enabled n prompt sampling",
    "generate.forward.sampling": _SAMPLING,
    "generate.backward": "enabled levels prompt sampling",
    "generate.backward.sampling": _SAMPLING,
    "curate": "gates duplicates score select",
    "curate.gates": "length repetition echo preamble answered lost_content language must must_not json_schema user",
    "curate.gates.length": "min_words max_words min_ratio max_ratio",
    "curate.gates.must": "name pattern",
    "curate.gates.must_not": "name pattern",
    "curate.duplicates": "enabled jaccard",
    "curate.score": "model batch_tokens",
    "curate.select": "best",
    "review": "enabled url key_env workspace dataset reasons annotators_per_row overlap half_width confidence batch"
    " shares gold seed",
    "review.shares": "certify fit audit_accepted audit_rejected disagree border",
    "split": "test validation salt",
    "train": "base method r alpha dropout learning_rate batch epochs max_length seed",
    "evaluate": "samples sampling checks max_seeds resamples concurrency",
    "evaluate.sampling": _SAMPLING,
    "evaluate.checks": "name pattern",
    "store": "url url_env",
}
# The names that version 0.1 used for keys that were renamed since.
_OLD_NAMES = {new: path.rpartition(".")[2] for path, new in old_keys.KEYS}
# Defaults of version 0.1 that were changed since.
_OLD_DEFAULTS = {
    "teacher.usd_per_million_prompt_tokens": 0.0,
    "teacher.usd_per_million_completion_tokens": 0.0,
    "review.workspace": "pairsmith",
    "curate.gates.lost_content": True,
    "curate.gates.length.min_words": 8,
    "curate.gates.length.max_words": 400,
    "curate.gates.length.min_ratio": 1.0,
    "curate.gates.length.max_ratio": 60.0,
}
_PART_NAMES = {"gate": "gates", "judge": "judge"}  # parts of a curation, as shown to users
_OLD_VALUES = {"seeds.kind": _OLD_NAMES, "curate.score.model": {"pmi": "relevance"}}


def spec_hash(project: Project, *, reviewed: bool) -> str:
    """`Project.spec_hash` as version 0.1 computed it, with `review.enabled` set to `reviewed`."""
    known = as_known(project.spec.model_dump(mode="json"), project.spec.model_dump(mode="json", exclude_defaults=True))
    known["review"]["enabled"] = reviewed
    return content_id("spec", known)


def as_known(spec: Any, given: Any, at: str = "") -> Any:
    """A dump of the spec without keys that version 0.1 did not have and that are at their default. `given` is the dump
    without defaults."""
    if isinstance(spec, list):
        pairs = zip(spec, given, strict=True) if isinstance(given, list) else ((entry, {}) for entry in spec)
        return [as_known(entry, nested, at) for entry, nested in pairs]
    if not isinstance(spec, dict) or at not in _KEYS:
        return spec
    given = given if isinstance(given, dict) else {}
    names = _KEYS[at].split()
    places = {key: f"{at}.{key}" if at else key for key in spec}
    known = {
        _OLD_NAMES.get(key, key): as_known(value, given.get(key), places[key])
        if key in given or places[key] not in _OLD_DEFAULTS
        else _OLD_DEFAULTS[places[key]]
        for key, value in spec.items()
        if _OLD_NAMES.get(key, key) in names or key in given
    }
    return {
        key: _OLD_VALUES.get(f"{at}.{key}", {}).get(value, value) if isinstance(value, str) else value
        for key, value in known.items()
    }


def outdated_rules_note(curated: Receipt) -> str:
    """A note about a curation whose rules have changed since; empty if they are current. Its stage is done anyway: a
    new version of pairsmith is no reason to change decisions on rows that were reviewed and trained on."""
    from curate.gate_versions import VERSIONS
    from curate.rows import CONTAMINATION, DUPLICATE, JUDGE
    from schemas.step_names import By

    pool_steps = {by.name: int(by.version) for by in map(By.read, (CONTAMINATION, DUPLICATE, JUDGE))}
    replaced = dict[str, None]()
    for step in map(By.read, curated.facts.get("steps", ())):
        now, part = (VERSIONS if step.kind == "gate" else pool_steps), _PART_NAMES.get(step.kind, step.name)
        if step.version.isdigit() and int(step.version) < now.get(step.name, 1):
            replaced[part] = None
    return f"by older rules ({', '.join(replaced)}); `pairsmith curate` applies the current ones" if replaced else ""


def why_not(stage: str, receipt: Receipt, project: Project, store: Store) -> str:
    """Why the stage of a version 0.1 receipt is no longer done, as far as its inputs are concerned; empty if it is
    done."""
    if receipt.spec_hash not in (spec_hash(project, reviewed=True), spec_hash(project, reviewed=False)):
        return "pairsmith.toml has changed since an older pairsmith ran it"
    if stage == "generate" and not _same_seeds(project, store):
        return "the seeds have changed"
    if stage == "curate" and not _same_gate_files(receipt.facts, project):
        return "a file of curate.gates has changed"
    return ""


def ran_without_review(receipt: Receipt, project: Project) -> bool:
    """True if a version 0.1 receipt of `run` comes from `run --no-review`."""
    return receipt.spec_hash == spec_hash(project, reviewed=False)


def _same_seeds(project: Project, store: Store) -> bool:
    from synth.sources.seeds import read_seeds

    sources = project.spec.seeds
    if any(source.path == "-" or source.format == "hub" for source in sources):
        return True  # version 0.1 did not detect changes of these either
    try:
        return [seed.id for seed in read_seeds(sources, project.folder).seeds] == [
            seed.id for seed in store.active_seeds()
        ]
    except PairsmithError:
        return False


def _same_gate_files(facts: Mapping[str, Any], project: Project) -> bool:
    """True if the gates defined in files are the ones listed in the dataset's manifest."""
    gates = project.spec.curate.gates
    if not gates.user and not gates.json_schema:
        return True
    from curate.export.files import read_manifest
    from curate.gates import gates_for

    try:
        (folder,) = facts.get("files", ())
        manifest = read_manifest(project.folder / folder / "manifest.json")
        now = gates_for(project.spec.task, gates, project.folder, project.spec.exemplars)
    except (OSError, ValueError, PairsmithError):
        return False
    then = {(by, fingerprint) for by, fingerprint in manifest["steps"]}
    return all(
        (step.by, step.fingerprint) in then for step in now if step.by.startswith(("gate/user:", "gate/json_schema"))
    )
