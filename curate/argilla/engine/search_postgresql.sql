-- What the search engine adds to Argilla's PostgreSQL database: tables of its own, kept exact by triggers inside
-- Argilla's own transactions, and indexes. Statements are separated by a line holding only two dashes.
CREATE TABLE pairsmith_made (script TEXT NOT NULL)  -- the digest of the script that made what is here
--
CREATE TABLE pairsmith_values (
    record_id UUID NOT NULL,
    source UUID NOT NULL,          -- the dataset (metadata) or the question (suggestions)
    facet TEXT NOT NULL,           -- the metadata property, or value, score, agent, type of a suggestion
    place INTEGER NOT NULL,        -- position in a list; -1 for a single value
    word TEXT COLLATE "C",
    number DOUBLE PRECISION,
    PRIMARY KEY (record_id, source, facet, place) INCLUDE (word, number)
)
--
CREATE INDEX pairsmith_values_word ON pairsmith_values (source, facet, word, record_id, place) WHERE word IS NOT NULL
--
CREATE INDEX pairsmith_values_number ON pairsmith_values (source, facet, number, record_id, place)
    WHERE number IS NOT NULL
--
-- A facet belongs to one source, which the planner cannot know: without this it expects a few rows where all come.
CREATE STATISTICS pairsmith_values_kinds (mcv) ON source, facet, word FROM pairsmith_values
--
-- A search in all fields, which is most of them, reads through half the pages when the words of one field lie elsewhere.
CREATE TABLE pairsmith_words (
    record_id UUID NOT NULL,
    dataset_id UUID NOT NULL,
    field TEXT NOT NULL,           -- '' for the words of all fields
    words TSVECTOR NOT NULL,
    PRIMARY KEY (record_id, field)
) PARTITION BY LIST (field)
--
CREATE TABLE pairsmith_words_of_all PARTITION OF pairsmith_words FOR VALUES IN ('')
--
CREATE TABLE pairsmith_words_of_one PARTITION OF pairsmith_words DEFAULT
--
CREATE INDEX pairsmith_words_words ON pairsmith_words USING gin (words)
--
CREATE INDEX pairsmith_records_listed ON records (dataset_id, inserted_at, id)
    INCLUDE (status, updated_at, external_id)
--
CREATE INDEX pairsmith_records_queue ON records (dataset_id, status, id)
--
CREATE INDEX pairsmith_responses_user ON responses (user_id, status, record_id)
--
CREATE INDEX pairsmith_suggestions_agents ON suggestions (question_id, agent)
--
CREATE INDEX pairsmith_vectors_settings ON vectors (vector_settings_id, updated_at, record_id)
--
-- JSONB cannot hold the sign with the number 0, which Argilla's JSON columns can.
CREATE FUNCTION pairsmith_readable(value JSON) RETURNS JSONB AS $$
    SELECT CASE WHEN strpos(value::TEXT, '\u0000') = 0 THEN value::JSONB
           ELSE regexp_replace(value::TEXT, '(?<!\\)((?:\\\\)*)\\u0000', '\1 ', 'g')::JSONB END
$$ LANGUAGE sql IMMUTABLE
--
-- Punctuation as spaces, or PostgreSQL takes and/or for a path and dawn.Then for a host; each Han and Hiragana sign as
-- a word of its own.
CREATE FUNCTION pairsmith_spaced(value TEXT) RETURNS TEXT AS $$
    SELECT regexp_replace(
        regexp_replace(left(value, 250000),
            '[!-/:-@[-`{-~\u00a0-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u2000-\u206f\u3000-\u303f]', ' ', 'g'),
        '([\u3040-\u309f\u3400-\u9fff])', ' \1 ', 'g')
$$ LANGUAGE sql IMMUTABLE
--
-- Markdown as it is read, without its HTML: a tag within a line parts no word, any other does.
CREATE FUNCTION pairsmith_read(value TEXT, marked_up BOOLEAN) RETURNS TEXT AS $$
    SELECT CASE WHEN marked_up IS NOT TRUE THEN value ELSE
        replace(replace(replace(replace(regexp_replace(regexp_replace(value,
            '</?(?:a|b|code|del|em|i|ins|mark|s|small|span|strong|sub|sup|u)(?:\s[^<>]*)?>', '', 'gi'),
            '</?[A-Za-z][^<>]*>', ' ', 'g'), '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&amp;', '&') END
$$ LANGUAGE sql IMMUTABLE
--
-- What of a JSON value can be asked for: words and numbers, alone or in a list.
CREATE FUNCTION pairsmith_elements(value JSONB) RETURNS TABLE (place INTEGER, word TEXT, number DOUBLE PRECISION) AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'array' THEN e.place - 1 ELSE -1 END::INTEGER,
           CASE jsonb_typeof(e.v) WHEN 'string' THEN e.v #>> '{}' END,
           CASE jsonb_typeof(e.v) WHEN 'number' THEN (e.v #>> '{}')::DOUBLE PRECISION END
    FROM jsonb_array_elements(CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END)
         WITH ORDINALITY AS e (v, place)
    WHERE jsonb_typeof(e.v) = 'number' OR (jsonb_typeof(e.v) = 'string' AND octet_length(e.v #>> '{}') <= 1000)
$$ LANGUAGE sql IMMUTABLE
--
CREATE FUNCTION pairsmith_record_changed() RETURNS TRIGGER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM pairsmith_values WHERE record_id = OLD.id AND (TG_OP = 'DELETE' OR source = OLD.dataset_id);
        DELETE FROM pairsmith_words WHERE record_id = OLD.id;
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;
    IF json_typeof(NEW.metadata) = 'object' THEN
        INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
        SELECT NEW.id, NEW.dataset_id, m.key, e.place, e.word, e.number
        FROM jsonb_each(pairsmith_readable(NEW.metadata)) m, pairsmith_elements(m.value) e;
    END IF;
    INSERT INTO pairsmith_words (record_id, dataset_id, field, words)
    WITH texts AS (
        SELECT f.name, pairsmith_spaced(pairsmith_read(CASE jsonb_typeof(v.value)
            WHEN 'array' THEN (SELECT string_agg(concat_ws(' ', m ->> 'role', m ->> 'content'), E'\n')
                               FROM jsonb_array_elements(v.value) m)
            ELSE v.value #>> '{}' END, (f.settings ->> 'use_markdown')::BOOLEAN)) AS text
        FROM datasets d JOIN fields f ON f.dataset_id = d.id
             JOIN jsonb_each(pairsmith_readable(NEW.fields)) v ON v.key = f.name
        WHERE d.id = NEW.dataset_id AND f.settings ->> 'type' <> 'image'
          -- In a queue of ours this field repeats the house style, which is of no row.
          AND (f.name <> 'rules' OR d.metadata ->> 'pairsmith' IS NULL)
    )
    SELECT NEW.id, NEW.dataset_id, name, to_tsvector('simple', coalesce(text, '')) FROM texts
    UNION ALL
    -- The word between two fields keeps the last of one and the first of the next from being a phrase.
    SELECT NEW.id, NEW.dataset_id, '', ts_delete(to_tsvector('simple', coalesce(
        left(string_agg(text, ' pairsmithnextfield ' ORDER BY name), 250000), '')), 'pairsmithnextfield') FROM texts;
    RETURN NULL;
END $$ LANGUAGE plpgsql
--
CREATE FUNCTION pairsmith_suggestion_changed() RETURNS TRIGGER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM pairsmith_values WHERE record_id = OLD.record_id AND source = OLD.question_id;
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;
    INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
    SELECT NEW.record_id, NEW.question_id, asked.facet, e.place, e.word, e.number
    FROM (SELECT 'agent' AS facet, to_jsonb(NEW.agent) AS value
          UNION ALL SELECT 'type', to_jsonb(NEW.type::TEXT)
          UNION ALL SELECT 'score', NEW.score::JSONB
          UNION ALL SELECT 'value', pairsmith_readable(NEW.value) FROM questions q
                    WHERE q.id = NEW.question_id
                      AND q.settings ->> 'type' IN ('rating', 'label_selection', 'multi_label_selection')) asked,
         pairsmith_elements(asked.value) e;
    RETURN NULL;
END $$ LANGUAGE plpgsql
--
CREATE TRIGGER pairsmith_record_inserted AFTER INSERT OR DELETE ON records
    FOR EACH ROW EXECUTE FUNCTION pairsmith_record_changed()
--
CREATE TRIGGER pairsmith_record_updated AFTER UPDATE OF fields, metadata ON records
    FOR EACH ROW EXECUTE FUNCTION pairsmith_record_changed()
--
CREATE TRIGGER pairsmith_suggestion_changed AFTER INSERT OR UPDATE OR DELETE ON suggestions
    FOR EACH ROW EXECUTE FUNCTION pairsmith_suggestion_changed()
--
UPDATE records SET metadata = metadata, fields = fields
--
UPDATE suggestions SET agent = agent
