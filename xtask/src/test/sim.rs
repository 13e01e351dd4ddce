//! Lane `sim`: nodes and clusters in the simulator, after the simulator has proved that it is worth something.

use crate::shell::{capture, run, say};

/// The build that all lanes share.
const DEV: &str = "target/debug/ottla-sim";
/// The profile of the other build, and what it makes.
const RELEASE_PROFILE: &str = "release-sim";
const RELEASE: &str = "target/release-sim/ottla-sim";
/// What the simulator runs each time: so many seeds with so many nodes. Fifty are too few to demand everything of.
const CAMPAIGNS: [&[&str]; 3] = [
    &["--nodes", "1", "--seeds", "1000", "--require-all"],
    &["--nodes", "3", "--seeds", "400", "--require-all"],
    &["--nodes", "5", "--seeds", "50"],
];
/// Seeds that must come out the same twice in one process.
const META_SEEDS: &str = "20";
/// Seeds that must come out the same in both builds.
const BUILD_SEEDS: &str = "50";

pub(super) fn lane() -> Result<(), String> {
    run("cargo", &["build", "--quiet", "--locked", "--workspace"])?;
    run(DEV, &["--meta", META_SEEDS])?;
    run(DEV, &["--replay-bugs", "1"])?;
    compare_builds()?;
    // The gate is repeatable; seeds that nobody has seen belong into long runs (`ottla-sim --from`).
    CAMPAIGNS.iter().try_for_each(|campaign| run(DEV, campaign))
}

/// Builds the simulator and hands the arguments on.
pub(crate) fn seeds(arguments: &[&str]) -> Result<(), String> {
    run("cargo", &["build", "--quiet", "--locked", "-p", "ottla-sim"])?;
    run(DEV, arguments)
}

/// What happens in a seed may depend on nothing but the seed: not on checks that only one build has, nor on what
/// the compiler makes of the code.
fn compare_builds() -> Result<(), String> {
    run("cargo", &["build", "--quiet", "--locked", "--profile", RELEASE_PROFILE, "-p", "ottla-sim"])?;
    let hashes = |binary| capture(binary, &["--hashes", BUILD_SEEDS]);
    let same = compare(&hashes(DEV)?, &hashes(RELEASE)?)?;
    say(&format!("{same} seeds came out the same in the dev build and in the release build"));
    Ok(())
}

/// Compares `SEED HASH` lines of two builds; returns how many there are.
fn compare(dev: &str, release: &str) -> Result<usize, String> {
    let (mut dev_lines, mut release_lines) = (dev.lines(), release.lines());
    let mut same = 0;
    loop {
        match (dev_lines.next(), release_lines.next()) {
            (None, None) if same == 0 => return Err("no seed was compared".into()),
            (None, None) => return Ok(same),
            (Some(dev), Some(release)) if dev == release => same += 1,
            (dev, release) => {
                let [dev, release] = [dev, release].map(|line| line.unwrap_or("nothing"));
                return Err(format!(
                    "a seed comes out as {dev} in the dev build and as {release} in release"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn builds_that_differ_in_one_seed_are_told_apart() {
        assert_eq!(compare("1 aa\n2 bb\n", "1 aa\n2 bb\n"), Ok(2));
        assert!(compare("1 aa\n2 bb\n", "1 aa\n2 bc\n").is_err_and(|error| error.contains("2 bc")));
        assert!(compare("1 aa\n2 bb\n", "1 aa\n").is_err());
        assert!(compare("", "").is_err());
    }
}
