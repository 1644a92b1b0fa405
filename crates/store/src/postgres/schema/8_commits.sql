-- Marks of the newest commits, by which the outcome of a commit that was not confirmed is found. The rows are overwritten.
CREATE TABLE tricast_commits (
    slot bigint PRIMARY KEY,                   -- 0 to 4095, from the mark
    mark bigint NOT NULL                       -- random
) WITH (fillfactor = 50);
