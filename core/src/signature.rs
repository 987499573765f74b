//! The core's signed Via branch: any core passes on a response whose branch one of them signed.
//!
//! A core that dies takes its response contexts along. The answer of the phone still arrives at some core; it may
//! leave towards the next Via, statelessly (RFC 3261 §16.7 for a response without context), when the branch on top
//! proves that the cluster itself sent the request along this way. Without the proof RFC 6026 §7.3 has it dropped.

use sip::Via;

use crate::keys::{ClusterKeys, SIGNATURE};

const PURPOSE: &str = "branch";

/// A branch token that binds `random` to the branch of the next Via below ours.
pub fn sign(random: &str, next: &Via<'_>, keys: &ClusterKeys) -> String {
    let signature = keys.sign(PURPOSE, &[random.as_bytes(), next.branch().unwrap_or("").as_bytes()]);
    format!("{random}{signature}")
}

/// True when the cluster signed `branch` (as it stands in a Via: token and loop hash) above `next`.
pub fn is_ours(branch: &str, next: &Via<'_>, keys: &ClusterKeys) -> bool {
    let token = branch.rsplit_once('.').map_or(branch, |(token, _)| token);
    let Some(cut) = token.len().checked_sub(SIGNATURE) else { return false };
    let (Some(random), Some(signature)) = (token.get(..cut), token.get(cut..)) else { return false };
    keys.verify(PURPOSE, &[random.as_bytes(), next.branch().unwrap_or("").as_bytes()], signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_holds_for_one_way_only() {
        let keys = ClusterKeys::random([1; 32]);
        let next = Via::parse(b"SIP/2.0/TLS edge-a;branch=z9hG4bKa").unwrap();
        let other = Via::parse(b"SIP/2.0/TLS edge-a;branch=z9hG4bKb").unwrap();
        let token = sign("z9hG4bK0123456789abcdef", &next, &keys);
        let branch = format!("{token}.00ff00ff00ff00ff");
        assert!(is_ours(&branch, &next, &keys));
        assert!(!is_ours(&branch, &other, &keys));
        assert!(!is_ours(&branch, &next, &ClusterKeys::random([2; 32])));
        assert!(!is_ours("z9hG4bK", &next, &keys));
    }
}
