//! How long tests of generated input go on.

extern crate std;

/// `least` rounds, or as many times more as `FUZZ_FACTOR` in the environment says: the lane `fuzz` runs the same
/// tests as the lane `unit`, only longer.
///
/// # Panics
/// If the factor is no number.
#[must_use]
pub fn rounds(least: u64) -> u64 {
    let factor = std::env::vars().find(|(name, _)| name == "FUZZ_FACTOR");
    least * factor.map_or(1, |(_, factor)| factor.parse().expect("FUZZ_FACTOR is a number"))
}
