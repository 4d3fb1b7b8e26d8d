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
    PRIMARY KEY (user_id, id),
    CONSTRAINT tasks_status CHECK (status IN ('pending', 'in_progress', 'completed')),
    CONSTRAINT tasks_priority CHECK (priority IN ('low', 'medium', 'high', 'urgent')),
    CONSTRAINT tasks_completed_at CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);

INSERT INTO taskd_version (version_num) VALUES ('0002_serves_0001');

COMMIT;
