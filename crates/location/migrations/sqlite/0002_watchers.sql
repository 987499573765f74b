-- Who is told of changes (RFC 3680), and when a row has to be looked at next.
ALTER TABLE location ADD COLUMN watchers TEXT NOT NULL DEFAULT '[]'; -- JSON, one object per subscription

-- Seconds since 1970: a binding or a subscription is over, or an empty row may be swept.
ALTER TABLE location ADD COLUMN due_at BIGINT NOT NULL DEFAULT 0;

UPDATE location SET due_at = coalesce(
    CASE WHEN json_valid(bindings)
        THEN (SELECT min(binding.value ->> 'expires_at') FROM json_each(bindings) AS binding) END,
    expires_at + 600);

DROP INDEX location_expires_at;
ALTER TABLE location DROP COLUMN expires_at;

CREATE INDEX location_due_at ON location (due_at);
