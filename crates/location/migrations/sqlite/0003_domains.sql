-- Domains that are served besides those of the configuration: lower case, as an address-of-record has them.
CREATE TABLE domain (
    name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
