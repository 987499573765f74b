-- What has become of the bindings, written with the record that it has led to.
CREATE TABLE location_change (
    aor        TEXT   NOT NULL, -- sip:user@domain
    version    BIGINT NOT NULL, -- of the record
    place      BIGINT NOT NULL, -- among the changes of the version
    position   BIGINT,          -- in the feed, given after the commit
    changed_at BIGINT NOT NULL, -- seconds since 1970
    event      TEXT   NOT NULL, -- registered, refreshed, moved, unregistered, expired, deactivated
    binding    TEXT   NOT NULL, -- JSON
    PRIMARY KEY (aor, version, place)
);

CREATE UNIQUE INDEX location_change_position ON location_change (position) WHERE position IS NOT NULL;
CREATE INDEX location_change_new ON location_change (version, aor, place) WHERE position IS NULL;

-- One row: the newest position; 0 before the feed was ever on.
CREATE TABLE feed_head (
    id       BIGINT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
);

INSERT INTO feed_head (id, position) VALUES (1, 0);

-- Where those who read the feed have come.
CREATE TABLE feed_consumer (
    name       TEXT   NOT NULL PRIMARY KEY,
    position   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL -- seconds since 1970
) WITHOUT ROWID;
