//! What a proxy does to a request and its responses (RFC 3261 §16).
