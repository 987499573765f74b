-- One row per address-of-record: a REGISTER is one compare-and-set write, a lookup one read by key.
CREATE TABLE IF NOT EXISTS location (
    aor        VARCHAR(512) NOT NULL PRIMARY KEY,                 -- sip:user@domain
    version    BIGINT       NOT NULL,                             -- grows with every write
    due_at     BIGINT       NOT NULL,                             -- seconds since 1970: a binding or a subscription is
                                                                  -- over, or an empty row may be swept
    bindings   MEDIUMTEXT   COLLATE utf8mb4_bin NOT NULL,         -- JSON, one object per binding
    watchers   MEDIUMTEXT   COLLATE utf8mb4_bin NOT NULL,         -- JSON, one object per subscription (RFC 3680)
    KEY location_due_at (due_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Which addresses-of-record have bindings through an edge. Rows may be left over; location has the last word.
CREATE TABLE IF NOT EXISTS location_edge (
    aor  VARCHAR(512) NOT NULL,
    edge VARCHAR(255) NOT NULL,
    PRIMARY KEY (aor, edge),
    KEY location_edge_edge (edge, aor)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Who may register and call. HA1 is H(username:realm:password) in lower-case hex; passwords are not stored.
CREATE TABLE IF NOT EXISTS subscriber (
    username   VARCHAR(255) NOT NULL,
    realm      VARCHAR(255) NOT NULL,
    ha1_md5    VARCHAR(64)  COLLATE utf8mb4_bin NOT NULL,
    ha1_sha256 VARCHAR(64)  COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (username, realm)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
