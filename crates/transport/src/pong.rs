//! Answers to our OPTIONS pings, told from other messages before anything is parsed. Pure.
//!
//! The ping says in the branch of its Via which one it is, and the answer repeats the Via (RFC 3261 §8.2.6.2), so nothing
//! is remembered to match the two and no transaction is kept: any final answer, of whatever status, says that the
//! flow is alive (RFC 5626 §4.4 asks no more of a keep-alive). What only looks like an answer is left to the parser.
//!
//! ```text
//! branch = z9hG4bK nat EEEEEEEE FFFFFFFF RRRRRRRR       epoch of the process, flow, round; hexadecimal
//! ```

/// Which ping it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingId {
    /// The number of the flow, as its keeper counts.
    pub flow: u32,
    /// The number of the ping on this flow.
    pub round: u32,
}

/// RFC 3261 §8.1.1.7, and a word that our other branches do not begin with.
const MARK: &[u8] = b"z9hG4bKnat";
/// Octets of a branch.
pub const BRANCH: usize = MARK.len() + 24;

/// The branch of a ping. `epoch` differs between two starts of a process.
pub fn branch(epoch: u32, id: PingId) -> [u8; BRANCH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut branch = [0; BRANCH];
    let (mark, numbers) = branch.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    for (chunk, number) in numbers.chunks_exact_mut(8).zip([epoch, id.flow, id.round]) {
        for (at, digit) in chunk.iter_mut().enumerate() {
            *digit = DIGITS[(number >> (28 - 4 * at) & 15) as usize];
        }
    }
    branch
}

/// The ping that these bytes are a final answer to.
pub fn answered(message: &[u8], epoch: u32) -> Option<PingId> {
    let status = message.strip_prefix(b"SIP/2.0 ")?.first()?;
    if !(b'2'..=b'6').contains(status) {
        return None;
    }
    let via = top_via(message)?;
    // Only the first element is ours; an IPv6 address of ours has no comma.
    let via = via.split(|byte| *byte == b',').next()?;
    let at = via.windows(PARAMETER.len()).position(|part| part.eq_ignore_ascii_case(PARAMETER))?;
    let branch = via.get(at + PARAMETER.len()..)?;
    let (numbers, rest) = branch.strip_prefix(MARK)?.split_first_chunk::<24>()?;
    if rest.first().is_some_and(|byte| !matches!(byte, b';' | b' ' | b'\t' | b'\r')) {
        return None;
    }
    let mut parts = numbers.chunks_exact(8).map(hexadecimal);
    (parts.next()?? == epoch).then_some(())?;
    Some(PingId { flow: parts.next()??, round: parts.next()?? })
}

const PARAMETER: &[u8] = b";branch=";

/// The value of the first Via line of the head.
fn top_via(message: &[u8]) -> Option<&[u8]> {
    for line in message.split(|byte| *byte == b'\n').skip(1) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = name.trim_ascii_end();
        if name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v") {
            return value.get(1..);
        }
    }
    None
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: PingId = PingId { flow: 0x00c0_ffee, round: 7 };

    fn answer(status: &str, via: &str) -> String {
        let branch = branch(0xabcd, ID);
        let branch = std::str::from_utf8(&branch).unwrap();
        let via = via.replace('@', branch);
        format!("SIP/2.0 {status}\r\n{via}\r\nFrom: <sip:a@b>;tag=1\r\nContent-Length: 0\r\n\r\n")
    }

    #[test]
    fn any_final_answer_counts() {
        let via = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=@;received=1.2.3.4;rport=5";
        for status in ["200 OK", "404 Not Found", "405 Method Not Allowed", "483 Too Many Hops", "603 No"] {
            assert_eq!(answered(answer(status, via).as_bytes(), 0xabcd), Some(ID), "{status}");
        }
        for via in [
            "v: SIP/2.0/UDP [2001:db8::1];rport=7;branch=@",
            "Server: x\r\nVIA : SIP/2.0/UDP a;branch=@ ;rport=1",
        ] {
            assert_eq!(answered(answer("200 OK", via).as_bytes(), 0xabcd), Some(ID), "{via}");
        }
    }

    #[test]
    fn what_is_none_is_left_to_the_parser() {
        let via = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=@";
        let good = answer("200 OK", via);
        assert_eq!(answered(good.as_bytes(), 0xabce), None, "of another process");
        assert_eq!(answered(answer("100 Trying", via).as_bytes(), 0xabcd), None, "no final");
        assert_eq!(answered(good.replace("SIP/2.0 200", "OPTIONS x").as_bytes(), 0xabcd), None);
        for via in [
            "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=@0",
            "Via: SIP/2.0/UDP other;branch=z9hG4bKx\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=@",
            "Via: SIP/2.0/UDP other;branch=z9hG4bKx, SIP/2.0/UDP 192.0.2.1:5060;branch=@",
            "Subject: no Via",
        ] {
            assert_eq!(answered(answer("200 OK", via).as_bytes(), 0xabcd), None, "{via}");
        }
    }

    proptest! {
        #[test]
        fn every_ping_is_found_in_its_answer(epoch: u32, flow: u32, round: u32) {
            let id = PingId { flow, round };
            let branch = branch(epoch, id);
            let mut bytes = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=".to_vec();
            bytes.extend_from_slice(&branch);
            bytes.extend_from_slice(b";rport=1\r\n\r\n");
            prop_assert_eq!(answered(&bytes, epoch), Some(id));
        }

        #[test]
        fn noise_is_survived(mut noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answered(&noise, 1);
            noise.splice(0..0, *b"SIP/2.0 200 OK\r\nVia: x;branch=z9hG4bKnat");
            let _ = answered(&noise, 1);
        }
    }
}
