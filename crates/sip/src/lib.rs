//! The SIP message and its grammar (RFC 3261 §7, §19, §20, §25).
