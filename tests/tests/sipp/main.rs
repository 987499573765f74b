//! End to end: the real programs as processes, SIPp as the phones behind two edges.
//!
//! Takes minutes and needs SIPp, so it runs only with `SIGNALBOX_SIPP=1`, as `tests/run` sets it.
//! `SIGNALBOX_SIPP_SECONDS` is the length of the long loads, 60 if it isn't set.

mod calls;
mod dialogs;
mod exchange;
mod keys;
