ALTER TABLE history_series ADD COLUMN ended_ms INTEGER;  -- when its channel ended last: a value from before is not its present one
