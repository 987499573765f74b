-- Domains that are served besides those of the configuration: lower case, as an address-of-record has them.
CREATE TABLE IF NOT EXISTS domain (
    name VARCHAR(255) NOT NULL PRIMARY KEY
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
