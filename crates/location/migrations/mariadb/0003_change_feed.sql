-- What has become of the bindings, written with the record that it has led to.
CREATE TABLE IF NOT EXISTS location_change (
    aor        VARCHAR(512) NOT NULL,                      -- sip:user@domain
    version    BIGINT       NOT NULL,                      -- of the record
    place      BIGINT       NOT NULL,                      -- among the changes of the version
    position   BIGINT       NULL,                          -- in the feed, given after the commit
    changed_at BIGINT       NOT NULL,                      -- seconds since 1970
    event      VARCHAR(32)  NOT NULL,                      -- registered, refreshed, moved, unregistered, expired, deactivated
    binding    MEDIUMTEXT   COLLATE utf8mb4_bin NOT NULL,  -- JSON
    PRIMARY KEY (aor, version, place),
    KEY location_change_position (position, version, aor, place)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- One row: the newest position; 0 before the feed was ever on.
CREATE TABLE IF NOT EXISTS feed_head (
    id       BIGINT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO feed_head (id, position) VALUES (1, 0);

-- Where those who read the feed have come.
CREATE TABLE IF NOT EXISTS feed_consumer (
    name       VARCHAR(64) NOT NULL PRIMARY KEY,
    position   BIGINT      NOT NULL,
    updated_at BIGINT      NOT NULL                        -- seconds since 1970
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
