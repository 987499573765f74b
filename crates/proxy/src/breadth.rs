//! Max-Breadth, RFC 5393 §5: how many branches of one request may be alive at once, here and further down.

use sip::{Name, Request};

/// Incoming Max-Breadth of a response context and what of it is in use.
#[derive(Debug)]
pub(crate) struct Breadth {
    free: u32,
    /// The request came with the header field, so its copies must say their share.
    stated: bool,
}

impl Breadth {
    /// Reads the header field; absent, unreadable or above `maximum` counts as `maximum` (§5.3.3).
    pub(crate) fn of(request: &Request, maximum: u32) -> Self {
        let value = request.headers.get(Name::MaxBreadth);
        let number = value.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok());
        Self { free: number.unwrap_or(maximum).min(maximum), stated: value.is_some() }
    }

    /// True when `branches` may live at once.
    pub(crate) fn allows(&self, branches: usize) -> bool {
        usize::try_from(self.free).is_ok_and(|free| branches <= free)
    }

    /// The share of the next of `branches` that start together; what does not divide goes to the first. None
    /// when nothing is left.
    pub(crate) fn take(&mut self, branches: usize) -> Option<u32> {
        let branches = u32::try_from(branches).unwrap_or(u32::MAX).max(1);
        let share = self.free.div_ceil(branches);
        self.free -= share;
        (share > 0).then_some(share)
    }

    /// §5.3.3.1: a share comes back with the final response of its branch.
    pub(crate) fn give_back(&mut self, share: u32) {
        self.free = self.free.saturating_add(share);
    }

    /// True when a copy must carry the header field: the request had it, or there is more than one branch.
    pub(crate) fn is_stated(&self, forked: bool) -> bool {
        self.stated || forked
    }
}

#[cfg(test)]
mod tests {
    use sip::Method;

    use super::*;

    fn breadth(value: Option<&'static str>) -> Breadth {
        let mut request = Request::new(Method::Invite, "sip:bob@example.com");
        if let Some(value) = value {
            request.headers.append(Name::MaxBreadth, value);
        }
        Breadth::of(&request, 60)
    }

    #[test]
    fn the_incoming_value_is_limited_by_ours() {
        for (value, free) in
            [(None, 60), (Some("4"), 4), (Some("61"), 60), (Some("99999999999"), 60), (Some("0"), 0)]
        {
            assert_eq!(breadth(value).free, free, "{value:?}");
        }
    }

    #[test]
    fn shares_never_exceed_the_incoming_value_and_use_all_of_it() {
        for branches in 1..=60 {
            let mut breadth = breadth(None);
            let shares: Vec<u32> = (0..branches).rev().map(|left| breadth.take(left + 1).unwrap()).collect();
            assert_eq!(shares.iter().sum::<u32>(), 60, "{shares:?}");
        }
    }

    #[test]
    fn a_share_that_came_back_can_be_used_again() {
        let mut breadth = breadth(Some("2"));
        assert_eq!((breadth.take(2), breadth.take(1), breadth.take(1)), (Some(1), Some(1), None));
        breadth.give_back(1);
        assert_eq!(breadth.take(1), Some(1));
    }
}
