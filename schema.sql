-- Create taskd's tables in an empty PostgreSQL database, version 12 or later:
--
--     psql "$DATABASE_URL" -f schema.sql
--
-- Or paste this into the SQL editor of Neon's console.  `taskd migrate` creates the same tables, and upgrades older ones.

BEGIN;

CREATE TABLE taskd_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT taskd_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE tasks (
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    title text NOT NULL,
    description text,
    status varchar(20) NOT NULL,
    priority varchar(20) NOT NULL,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    completed_at timestamptz,
    tags text[] NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 0,
    title_folded text COLLATE "C",
    description_folded text COLLATE "C",
    PRIMARY KEY (user_id, id),
    CONSTRAINT tasks_status CHECK (status IN ('pending', 'in_progress', 'completed')),
    CONSTRAINT tasks_priority CHECK (priority IN ('low', 'medium', 'high', 'urgent')),
    CONSTRAINT tasks_completed_at CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);

CREATE TABLE owners (
    user_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    is_folded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id)
);

CREATE TABLE idempotency_keys (
    user_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    task_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_age ON idempotency_keys (user_id, created_at);

-- Statements of older servers, and those that people type, do not raise the version: these triggers do.

CREATE OR REPLACE FUNCTION tasks_raise_version() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO owners AS o (user_id, seq) VALUES (NEW.user_id, 1)
    ON CONFLICT (user_id) DO UPDATE SET seq = o.seq + 1, is_folded = false
    RETURNING o.seq INTO NEW.version;
    NEW.title_folded := NULL;
    NEW.description_folded := NULL;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION tasks_note_deletion() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- Raising it once is enough, and raising it for each of many tasks would slow down a transaction more and more.
    IF NOT EXISTS (SELECT FROM owners WHERE user_id = OLD.user_id AND xmin = pg_current_xact_id()::xid) THEN
        INSERT INTO owners AS o (user_id, seq) VALUES (OLD.user_id, 1)
        ON CONFLICT (user_id) DO UPDATE SET seq = o.seq + 1;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tasks_note_truncation() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE owners SET seq = seq + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER tasks_inserted BEFORE INSERT ON tasks FOR EACH ROW
WHEN (NEW.version = 0) EXECUTE FUNCTION tasks_raise_version();

CREATE TRIGGER tasks_updated BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.version = OLD.version AND NEW.title_folded IS NOT DISTINCT FROM OLD.title_folded
    AND NEW.description_folded IS NOT DISTINCT FROM OLD.description_folded)
EXECUTE FUNCTION tasks_raise_version();

CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_note_deletion();

CREATE TRIGGER tasks_moved AFTER UPDATE OF user_id ON tasks FOR EACH ROW
WHEN (NEW.user_id <> OLD.user_id) EXECUTE FUNCTION tasks_note_deletion();

CREATE TRIGGER tasks_truncated AFTER TRUNCATE ON tasks FOR EACH STATEMENT
EXECUTE FUNCTION tasks_note_truncation();

INSERT INTO taskd_version (version_num) VALUES ('0003_serves_0001');

COMMIT;
