//! Tones in WAV files: what a phone says, and whether another one has heard it.

use std::f64::consts::TAU;
use std::path::Path;

use crate::cluster::Problem;

/// Samples per second of the files that are written.
const RATE: u32 = 8_000;
/// Seconds of a file that is written: longer than any call.
const LENGTH: u32 = 60;
/// What stands before the samples.
const HEAD: usize = 44;
/// Rates that a recording may have while its head is still blank: linphone writes it at the end.
const USUAL: [u32; 3] = [8_000, 16_000, 48_000];
/// Tenths of a second that must be this tone and nothing else.
const ENOUGH: usize = 10;

/// Writes a tone as 16-bit PCM, mono.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write(path: &Path, hertz: u32) -> Result<(), Problem> {
    let count = RATE * LENGTH;
    let size = count * 2;
    let mut file = Vec::new();
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(size + 36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&(RATE * 2).to_le_bytes());
    file.extend_from_slice(&2u16.to_le_bytes());
    file.extend_from_slice(&16u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&size.to_le_bytes());
    for at in 0..count {
        let phase = TAU * f64::from(hertz) * f64::from(at) / f64::from(RATE);
        #[expect(clippy::cast_possible_truncation, reason = "a quarter of the range")]
        let sample = (phase.sin() * 8_000.0) as i16;
        file.extend_from_slice(&sample.to_le_bytes());
    }
    Ok(std::fs::write(path, file)?)
}

/// Whether a recording, which may still be going on, has the tone in it.
pub(super) fn heard(path: &Path, hertz: u32) -> bool {
    let Ok(file) = std::fs::read(path) else { return false };
    let samples: Vec<f64> = file
        .get(HEAD..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])))
        .collect();
    let rate = file.get(24..28).and_then(|rate| rate.try_into().ok()).map_or(0, u32::from_le_bytes);
    let rates = if rate == 0 { USUAL.to_vec() } else { vec![rate] };
    rates.into_iter().any(|rate| {
        let tenth = usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1);
        samples.chunks_exact(tenth).filter(|samples| is_tone(samples, rate, hertz)).count() >= ENOUGH
    })
}

/// Goertzel: most of the power is at this frequency.
fn is_tone(samples: &[f64], rate: u32, hertz: u32) -> bool {
    let turn = 2.0 * (TAU * f64::from(hertz) / f64::from(rate)).cos();
    let (mut last, mut before, mut power) = (0.0, 0.0, 0.0);
    for sample in samples {
        (last, before) = (sample + turn * last - before, last);
        power += sample * sample;
    }
    let count = samples.iter().map(|_| 1.0).sum::<f64>();
    let found = (last * last + before * before - turn * last * before) / (count / 2.0);
    power / count > 1e4 && found > power / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_heard_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        write(&path, 440).unwrap();
        assert!(heard(&path, 440));
        assert!(!heard(&path, 620));
    }

    #[test]
    fn silence_is_no_tone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        write(&path, 440).unwrap();
        let mut file = std::fs::read(&path).unwrap();
        file[HEAD..].fill(0);
        std::fs::write(&path, file).unwrap();
        assert!(!heard(&path, 440));
    }
}
