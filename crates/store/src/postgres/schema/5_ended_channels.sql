ALTER TABLE tricast_history_series ADD COLUMN ended_ms bigint;  -- when its channel ended last: a value from before is not its present one
