-- Machine keys. The secret itself is not stored.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,                        -- SHA-256 of the secret
    rights TEXT NOT NULL,                      -- JSON: {"read": [...], "push": [...], "permissions": [...]}, checked by the domain
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    used_ms INTEGER,                           -- a recent use, to the hour
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;
