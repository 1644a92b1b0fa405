-- Machine keys. The secret itself is not stored.
CREATE TABLE tricast_api_keys (
    id text COLLATE "C" PRIMARY KEY,
    tenant bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,                       -- SHA-256 of the secret
    rights text NOT NULL,                      -- JSON: {"read": [...], "push": [...], "permissions": [...]}, checked by the domain
    created_ms bigint NOT NULL,
    expires_ms bigint,
    used_ms bigint,                            -- a recent use, to the hour
    UNIQUE (tenant, name)
);
