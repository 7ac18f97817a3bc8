-- What the search engine adds to Argilla's PostgreSQL database: two tables of its own, kept exact by triggers inside
-- Argilla's own transactions, and indexes. Statements are separated by a line holding only two dashes.
CREATE TABLE pairsmith_values (
    record_id UUID NOT NULL,
    source UUID NOT NULL,          -- the dataset (metadata) or the question (suggestions)
    facet TEXT NOT NULL,           -- the metadata property, or value, score, agent, type of a suggestion
    place INTEGER NOT NULL,        -- position in a list; 0 for a single value
    word TEXT,
    number DOUBLE PRECISION,
    PRIMARY KEY (record_id, source, facet, place)
)
--
CREATE INDEX pairsmith_values_word ON pairsmith_values (source, facet, word, record_id) WHERE word IS NOT NULL
--
CREATE INDEX pairsmith_values_number ON pairsmith_values (source, facet, number, record_id) WHERE number IS NOT NULL
--
CREATE TABLE pairsmith_words (
    record_id UUID NOT NULL,
    dataset_id UUID NOT NULL,
    field TEXT NOT NULL,
    words TSVECTOR NOT NULL,
    PRIMARY KEY (record_id, field)
)
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
CREATE INDEX pairsmith_vectors_settings ON vectors (vector_settings_id, updated_at, record_id)
--
CREATE FUNCTION pairsmith_spread(source_record UUID, source UUID, facet TEXT, value JSONB) RETURNS VOID AS $$
    INSERT INTO pairsmith_values (record_id, source, facet, place, word, number)
    SELECT source_record, source, facet, e.place - 1,
           CASE WHEN jsonb_typeof(e.v) = 'string' THEN e.v #>> '{}' END,
           CASE WHEN jsonb_typeof(e.v) = 'number' THEN (e.v #>> '{}')::DOUBLE PRECISION END
    FROM jsonb_array_elements(CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE jsonb_build_array(value) END)
         WITH ORDINALITY AS e (v, place)
    WHERE jsonb_typeof(e.v) = 'number' OR (jsonb_typeof(e.v) = 'string' AND octet_length(e.v #>> '{}') <= 1000)
$$ LANGUAGE sql
--
CREATE FUNCTION pairsmith_record_changed() RETURNS TRIGGER AS $$
BEGIN
    DELETE FROM pairsmith_values WHERE record_id = OLD.id AND (TG_OP = 'DELETE' OR source = OLD.dataset_id);
    DELETE FROM pairsmith_words WHERE record_id = OLD.id;
    IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;
    IF json_typeof(NEW.metadata) = 'object' THEN
        PERFORM pairsmith_spread(NEW.id, NEW.dataset_id, m.key, m.value) FROM jsonb_each(NEW.metadata::jsonb) m;
    END IF;
    INSERT INTO pairsmith_words (record_id, dataset_id, field, words)
    SELECT NEW.id, NEW.dataset_id, f.name,
           to_tsvector('simple', regexp_replace(left(CASE json_typeof(NEW.fields -> f.name)
               WHEN 'array' THEN (SELECT string_agg(concat_ws(' ', m ->> 'role', m ->> 'content'), E'\n')
                                  FROM json_array_elements(NEW.fields -> f.name) m)
               ELSE NEW.fields ->> f.name END, 250000), '([\u3040-\u309f\u3400-\u9fff])', ' \1 ', 'g'))
    FROM fields f
    WHERE f.dataset_id = NEW.dataset_id AND f.settings ->> 'type' <> 'image' AND NEW.fields ->> f.name IS NOT NULL;
    RETURN NULL;
END $$ LANGUAGE plpgsql
--
CREATE FUNCTION pairsmith_suggestion_changed() RETURNS TRIGGER AS $$
BEGIN
    DELETE FROM pairsmith_values WHERE record_id = OLD.record_id AND source = OLD.question_id;
    IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;
    PERFORM pairsmith_spread(NEW.record_id, NEW.question_id, 'agent', to_jsonb(NEW.agent)) WHERE NEW.agent IS NOT NULL;
    PERFORM pairsmith_spread(NEW.record_id, NEW.question_id, 'type', to_jsonb(NEW.type::TEXT))
        WHERE NEW.type IS NOT NULL;
    PERFORM pairsmith_spread(NEW.record_id, NEW.question_id, 'score', NEW.score::jsonb) WHERE NEW.score IS NOT NULL;
    PERFORM pairsmith_spread(NEW.record_id, NEW.question_id, 'value', NEW.value::jsonb) FROM questions q
        WHERE q.id = NEW.question_id
          AND q.settings ->> 'type' IN ('rating', 'label_selection', 'multi_label_selection');
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
