-- The table of the peers: the columns of the contract, and the one index that all queries need.
CREATE TABLE tasks (
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    title text NOT NULL,
    description text,
    status varchar(20) NOT NULL,
    priority varchar(20) NOT NULL,
    due_at timestamptz,
    tags text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    completed_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (user_id, id)
);
