-- What the search engine adds to Argilla's SQLite database: tables of its own, kept exact by triggers inside Argilla's
-- own transactions, and indexes. Statements are separated by a line holding only two dashes.
CREATE TABLE pairsmith_made (script TEXT NOT NULL)  -- the digest of the script that made what is here
--
CREATE TABLE pairsmith_values (
    record_id CHAR(32) NOT NULL,
    source CHAR(32) NOT NULL,      -- the dataset (metadata) or the question (suggestions)
    facet TEXT NOT NULL,           -- the metadata property, or value, score, agent, type of a suggestion
    place INTEGER NOT NULL,        -- position in a list; -1 for a single value
    word TEXT,
    number REAL,
    PRIMARY KEY (record_id, source, facet, place)
) WITHOUT ROWID
--
CREATE INDEX pairsmith_values_word ON pairsmith_values (source, facet, word) WHERE word IS NOT NULL
--
CREATE INDEX pairsmith_values_number ON pairsmith_values (source, facet, number) WHERE number IS NOT NULL
--
CREATE TABLE pairsmith_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    record_id CHAR(32) NOT NULL UNIQUE,
    dataset_id CHAR(32) NOT NULL
)
--
CREATE INDEX pairsmith_changes_dataset ON pairsmith_changes (dataset_id, seq)
--
CREATE INDEX pairsmith_records_listed
    ON records (dataset_id, inserted_at, id, status, updated_at, external_id)
--
CREATE INDEX pairsmith_records_queue ON records (dataset_id, status, id)
--
CREATE INDEX pairsmith_responses_user ON responses (user_id, status, record_id)
--
CREATE INDEX pairsmith_suggestions_agents ON suggestions (question_id, agent)
--
CREATE INDEX pairsmith_vectors_settings ON vectors (vector_settings_id, updated_at, record_id)
--
CREATE TRIGGER pairsmith_record_inserted AFTER INSERT ON records BEGIN
    DELETE FROM pairsmith_changes WHERE record_id = NEW.id;
    INSERT INTO pairsmith_changes (record_id, dataset_id) VALUES (NEW.id, NEW.dataset_id);
    INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
    SELECT NEW.id, NEW.dataset_id, m.key, CASE m.type WHEN 'array' THEN e.key ELSE -1 END,
           CASE WHEN e.type = 'text' THEN e.value END, CASE WHEN e.type IN ('integer', 'real') THEN e.value END
    FROM json_each(coalesce(NEW.metadata, 'null')) m,
         json_each(CASE WHEN m.type = 'array' THEN m.value ELSE json_array(m.value) END) e
    WHERE m.key IS NOT NULL AND m.type <> 'object'
      AND (e.type IN ('integer', 'real') OR (e.type = 'text' AND length(CAST(e.value AS BLOB)) <= 1000));
END
--
CREATE TRIGGER pairsmith_record_updated AFTER UPDATE OF fields, metadata ON records BEGIN
    DELETE FROM pairsmith_changes WHERE record_id = NEW.id;
    INSERT INTO pairsmith_changes (record_id, dataset_id) VALUES (NEW.id, NEW.dataset_id);
    DELETE FROM pairsmith_values WHERE record_id = NEW.id AND source = NEW.dataset_id;
    INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
    SELECT NEW.id, NEW.dataset_id, m.key, CASE m.type WHEN 'array' THEN e.key ELSE -1 END,
           CASE WHEN e.type = 'text' THEN e.value END, CASE WHEN e.type IN ('integer', 'real') THEN e.value END
    FROM json_each(coalesce(NEW.metadata, 'null')) m,
         json_each(CASE WHEN m.type = 'array' THEN m.value ELSE json_array(m.value) END) e
    WHERE m.key IS NOT NULL AND m.type <> 'object'
      AND (e.type IN ('integer', 'real') OR (e.type = 'text' AND length(CAST(e.value AS BLOB)) <= 1000));
END
--
CREATE TRIGGER pairsmith_record_deleted AFTER DELETE ON records BEGIN
    DELETE FROM pairsmith_changes WHERE record_id = OLD.id;
    INSERT INTO pairsmith_changes (record_id, dataset_id) VALUES (OLD.id, OLD.dataset_id);
    DELETE FROM pairsmith_values WHERE record_id = OLD.id;
END
--
CREATE TRIGGER pairsmith_suggestion_inserted AFTER INSERT ON suggestions BEGIN
    INSERT INTO pairsmith_values (record_id, source, facet, place, word)
    SELECT NEW.record_id, NEW.question_id, 'agent', -1, NEW.agent WHERE NEW.agent IS NOT NULL;
    INSERT INTO pairsmith_values (record_id, source, facet, place, word)
    SELECT NEW.record_id, NEW.question_id, 'type', -1, NEW.type WHERE NEW.type IS NOT NULL;
    INSERT INTO pairsmith_values (record_id, source, facet, place, number)
    SELECT NEW.record_id, NEW.question_id, 'score', coalesce(e.key, -1), e.value
    FROM json_each(coalesce(NEW.score, 'null')) e WHERE e.type IN ('integer', 'real');
    INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
    SELECT NEW.record_id, NEW.question_id, 'value', coalesce(e.key, -1),
           CASE WHEN e.type = 'text' THEN e.value END, CASE WHEN e.type IN ('integer', 'real') THEN e.value END
    FROM questions q, json_each(NEW.value) e
    WHERE q.id = NEW.question_id
      AND json_extract(q.settings, '$.type') IN ('rating', 'label_selection', 'multi_label_selection')
      AND e.type IN ('integer', 'real', 'text');
END
--
CREATE TRIGGER pairsmith_suggestion_updated AFTER UPDATE ON suggestions BEGIN
    DELETE FROM pairsmith_values WHERE record_id = NEW.record_id AND source = NEW.question_id;
    INSERT INTO pairsmith_values (record_id, source, facet, place, word)
    SELECT NEW.record_id, NEW.question_id, 'agent', -1, NEW.agent WHERE NEW.agent IS NOT NULL;
    INSERT INTO pairsmith_values (record_id, source, facet, place, word)
    SELECT NEW.record_id, NEW.question_id, 'type', -1, NEW.type WHERE NEW.type IS NOT NULL;
    INSERT INTO pairsmith_values (record_id, source, facet, place, number)
    SELECT NEW.record_id, NEW.question_id, 'score', coalesce(e.key, -1), e.value
    FROM json_each(coalesce(NEW.score, 'null')) e WHERE e.type IN ('integer', 'real');
    INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
    SELECT NEW.record_id, NEW.question_id, 'value', coalesce(e.key, -1),
           CASE WHEN e.type = 'text' THEN e.value END, CASE WHEN e.type IN ('integer', 'real') THEN e.value END
    FROM questions q, json_each(NEW.value) e
    WHERE q.id = NEW.question_id
      AND json_extract(q.settings, '$.type') IN ('rating', 'label_selection', 'multi_label_selection')
      AND e.type IN ('integer', 'real', 'text');
END
--
CREATE TRIGGER pairsmith_suggestion_deleted AFTER DELETE ON suggestions BEGIN
    DELETE FROM pairsmith_values WHERE record_id = OLD.record_id AND source = OLD.question_id;
END
--
UPDATE records SET metadata = metadata, fields = fields
--
UPDATE suggestions SET agent = agent
