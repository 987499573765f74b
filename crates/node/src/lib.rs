//! What every process of the cluster has: shards, configuration, telemetry, admin.
