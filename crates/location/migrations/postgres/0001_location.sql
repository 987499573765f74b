-- One row per address-of-record: a REGISTER is one compare-and-set write, a lookup one read by key.
CREATE TABLE location (
    aor        TEXT   COLLATE "C" NOT NULL PRIMARY KEY, -- sip:user@domain
    version    BIGINT NOT NULL,                         -- grows with every write
    due_at     BIGINT NOT NULL,                         -- seconds since 1970: a binding or a subscription is over, or an
                                                        -- empty row may be swept
    bindings   TEXT   NOT NULL,                         -- JSON, one object per binding
    watchers   TEXT   NOT NULL                          -- JSON, one object per subscription (RFC 3680)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.1);

CREATE INDEX location_due_at ON location (due_at);

-- Which addresses-of-record have bindings through an edge. Rows may be left over; location has the last word.
CREATE TABLE location_edge (
    aor  TEXT COLLATE "C" NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (aor, edge)
);

CREATE INDEX location_edge_edge ON location_edge (edge, aor);

-- Who may register and call. HA1 is H(username:realm:password) in lower-case hex; passwords are not stored.
CREATE TABLE subscriber (
    username   TEXT COLLATE "C" NOT NULL,
    realm      TEXT COLLATE "C" NOT NULL,
    ha1_md5    TEXT NOT NULL,
    ha1_sha256 TEXT NOT NULL,
    PRIMARY KEY (username, realm)
);
