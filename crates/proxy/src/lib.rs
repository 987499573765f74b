//! What a proxy does to a request and its responses (RFC 3261 §16). Pure: time comes in, actions go out.
//!
//! | RFC 3261 | where |
//! |---|---|
//! | §16.3 request validation | [`validate`], loops in [`branch::is_loop`] |
//! | §16.4 route information preprocessing | [`route::preprocess`] |
//! | §16.5 the target set | [`target`] |
//! | §16.6 steps 1–3, 6, 8: the forwarded copy and its Via | [`branch`], strict routers in [`route::postprocess`] |
//! | §16.6 step 4 Record-Route | [`record_route`] |
//! | §16.6 step 11, §16.8 Timer C; §16.7 steps 1–5, 9; §16.9; forking by RFC 5626 §7 and RFC 5393 §5 | [`context`] |
//! | §16.7 steps 6 and 7: the best response | [`response`] |
//! | §16.7 step 10, §16.10 CANCEL | [`context::ResponseContext::on_cancel`] |
//! | §16.11 without state | [`stateless`] |
//!
//! The order of calls for one request: [`validate::request`], [`branch::loop_hash`] (and [`branch::is_loop`]
//! before forking), [`route::preprocess`], then a [`context::ResponseContext`] that is started with a
//! [`target::TargetSet`]. Every [`context::Action::Forward`] carries a copy that still needs
//! [`record_route::insert`] where wanted, [`route::postprocess`] and [`branch::push_via`] before a client
//! transaction sends it.

pub mod branch;
mod breadth;
pub mod context;
mod hash;
pub mod record_route;
pub mod response;
mod rewrite;
pub mod route;
pub mod stateless;
pub mod target;
pub mod validate;

#[cfg(test)]
mod testing;
