-- One row per address-of-record: a REGISTER is one compare-and-set write, a lookup one read by key.
CREATE TABLE location (
    aor        TEXT   NOT NULL PRIMARY KEY, -- sip:user@domain
    version    BIGINT NOT NULL,             -- grows with every write
    expires_at BIGINT NOT NULL,             -- seconds since 1970; after this the row may be swept
    bindings   TEXT   NOT NULL              -- JSON, one object per binding
);

CREATE INDEX location_expires_at ON location (expires_at);

-- Which addresses-of-record have bindings through an edge. Rows may be left over; location has the last word.
CREATE TABLE location_edge (
    aor  TEXT NOT NULL,
    edge TEXT NOT NULL,
    PRIMARY KEY (aor, edge)
) WITHOUT ROWID;

CREATE INDEX location_edge_edge ON location_edge (edge, aor);

-- Who may register and call. HA1 is H(username:realm:password) in lower-case hex; passwords are not stored.
CREATE TABLE subscriber (
    username   TEXT NOT NULL,
    realm      TEXT NOT NULL,
    ha1_md5    TEXT NOT NULL,
    ha1_sha256 TEXT NOT NULL,
    PRIMARY KEY (username, realm)
) WITHOUT ROWID;
