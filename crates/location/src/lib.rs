//! The location service and the subscriber directory.
