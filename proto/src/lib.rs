//! Protobuf messages between the tiers.
