//! Max-Breadth, RFC 5393 §5: how many branches of one request may be alive at once, here and further down.
//!
//! Every forwarded request carries it (§5.3.3), a share is used again when it comes back (§5.3.3.1), and the values of the copies that wait for a final response never
//! add up to more than the request came with. Depth is not its business: a single branch gets all of it.

use sip::{Name, Request};

/// Incoming Max-Breadth of a response context and what of it is in use.
#[derive(Debug)]
pub(crate) struct Breadth {
    free: u32,
}

/// What §5.3.3 recommends, both for a request without the header field and as the largest value accepted.
pub(crate) const RECOMMENDED: u32 = 60;

impl Breadth {
    /// Reads the header field of a request.
    pub(crate) fn of(request: &Request, maximum: u32) -> Self {
        Self { free: incoming(request, maximum) }
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
}

/// Incoming Max-Breadth; absent, unreadable or above `maximum` counts as `maximum` (§5.3.3).
pub(crate) fn incoming(request: &Request, maximum: u32) -> u32 {
    let value = request.headers.get(Name::MaxBreadth).map(<[u8]>::trim_ascii);
    // `1*DIGIT`: parse alone would take a plus sign.
    let digits = value.filter(|value| value.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
    number.unwrap_or(maximum).min(maximum)
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
        for nonsense in ["", "+4", "4, 5", "many", "-1", "4;x"] {
            assert_eq!(breadth(Some(nonsense)).free, 60, "{nonsense}");
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
