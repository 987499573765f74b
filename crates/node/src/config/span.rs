//! Durations as people write them: `500ms`, `25s`, `5m`, `1h`, `2d`.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    time::Duration,
};

/// A duration in whole milliseconds that is written as a number and a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    millis: u64,
}

impl Span {
    /// This many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// This many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self { millis: secs * 1_000 }
    }

    /// The duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// The duration in milliseconds.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The duration in seconds, rounded down.
    pub const fn secs(self) -> u64 {
        self.millis / 1_000
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.duration()
    }
}

/// The largest unit that needs no fraction.
impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, unit): &&(&str, u64)| self.millis.is_multiple_of(unit);
        match UNITS.iter().rev().find(whole) {
            Some((name, unit)) if self.millis > 0 => write!(f, "{}{name}", self.millis / unit),
            _ => f.write_str("0s"),
        }
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(ParseSpanError::Shape);
        }
        let number: u64 = number.parse().map_err(|_| ParseSpanError::TooLong)?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseSpanError::Shape)?;
        let millis = number.checked_mul(*unit).ok_or(ParseSpanError::TooLong)?;
        Ok(Self { millis })
    }
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpanError {
    /// Not a number and a unit.
    #[error("a duration is a number and a unit: 500ms, 25s, 5m, 1h or 2d")]
    Shape,
    /// More milliseconds than 64 bits count.
    #[error("the duration is too long")]
    TooLong,
}

/// The units with their milliseconds, from short to long.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        for (text, secs) in [("25s", 25), ("5m", 300), ("1h", 3_600), ("2d", 172_800)] {
            assert_eq!(text.parse(), Ok(Span::from_secs(secs)), "{text}");
        }
        assert_eq!("500ms".parse(), Ok(Span::from_millis(500)));
        assert_eq!("500ms".parse::<Span>().unwrap().duration(), Duration::from_millis(500));
    }

    #[test]
    fn writes_what_it_reads() {
        let spans =
            [0, 1, 999, 1_000, 1_500, 60_000, 61_000, 3_600_000, 86_400_000, u64::MAX].map(Span::from_millis);
        for span in spans {
            assert_eq!(span.to_string().parse(), Ok(span), "{span}");
        }
        assert_eq!(Span::from_secs(3_600).to_string(), "1h");
        assert_eq!(Span::from_secs(90).to_string(), "90s");
        assert_eq!(Span::from_millis(1_500).to_string(), "1500ms");
        assert_eq!(Span::default().to_string(), "0s");
    }

    #[test]
    fn refuses_what_could_mean_anything() {
        for text in ["", "25", "s", "-1s", "1.5s", "1 s", "1S", "1w", "1s "] {
            assert_eq!(text.parse::<Span>(), Err(ParseSpanError::Shape), "{text:?}");
        }
        for text in ["18446744073709551616s", "18446744073709551615s"] {
            assert_eq!(text.parse::<Span>(), Err(ParseSpanError::TooLong), "{text}");
        }
    }
}
