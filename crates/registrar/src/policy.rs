//! What the operator decides about registrations, and where a REGISTER came from.

/// Limits of registrations, RFC 3261 §10.3 step 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Shorter intervals are refused with 423, in seconds. Above one hour it no longer refuses anything that
    /// asks for an hour or more (RFC 3261 §10.3 step 7).
    pub min_expires: u32,
    /// The interval of a contact that names none, in seconds.
    pub default_expires: u32,
    /// Longer intervals are cut to this, in seconds.
    pub max_expires: u32,
    /// Bindings that one address-of-record may have at a time.
    pub max_contacts: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { min_expires: 60, default_expires: 3_600, max_expires: 7_200, max_contacts: 10 }
    }
}

/// Where a REGISTER came from; kept with the bindings that it makes.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Name of the edge that forwarded it.
    pub edge: &'a str,
    /// Transport and address of the UA as that edge saw it.
    pub source: &'a str,
    /// Name of the core that processes it.
    pub core: &'a str,
}
