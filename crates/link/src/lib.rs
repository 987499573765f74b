//! The link between the tiers: QUIC, frames, membership.
