-- Domains that are served besides those of the configuration: lower case, as an address-of-record has them.
CREATE TABLE domain (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY
);
