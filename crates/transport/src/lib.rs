//! SIP on the wire: sockets, flows, flow tokens.
