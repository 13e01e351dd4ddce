//! What two texts have in common, line by line.

/// A stretch of two texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A line of both.
    Both(String),
    /// Lines of the first in place of lines of the second.
    Differ(Vec<String>, Vec<String>),
}

/// Lines up two texts along their longest common subsequence.
pub(super) fn parts(left: &[String], right: &[String]) -> Vec<Part> {
    let lengths = lengths(left, right);
    let (mut l, mut r) = (0, 0);
    let mut parts = Vec::new();
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && left[l] == right[r] {
            parts.push(Part::Both(left[l].clone()));
            (l, r) = (l + 1, r + 1);
            continue;
        }
        if !matches!(parts.last(), Some(Part::Differ(..))) {
            parts.push(Part::Differ(Vec::new(), Vec::new()));
        }
        let Some(Part::Differ(of_left, of_right)) = parts.last_mut() else { continue };
        if r == right.len() || (l < left.len() && lengths[l + 1][r] >= lengths[l][r + 1]) {
            of_left.push(left[l].clone());
            l += 1;
        } else {
            of_right.push(right[r].clone());
            r += 1;
        }
    }
    parts
}

/// The length of the longest common subsequence of the texts from each pair of lines on.
fn lengths(left: &[String], right: &[String]) -> Vec<Vec<usize>> {
    let mut lengths = vec![vec![0; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            lengths[l][r] = if left[l] == right[r] {
                lengths[l + 1][r + 1] + 1
            } else {
                lengths[l + 1][r].max(lengths[l][r + 1])
            };
        }
    }
    lengths
}

/// A difference as people read it: `-` expected, `+` found.
pub(super) fn unified(expected: &[String], found: &[String]) -> String {
    let mut out = String::new();
    let mut line = |sign: char, text: &str| {
        out.extend(["    ", sign.encode_utf8(&mut [0; 4]), text, "\n"]);
    };
    for part in parts(expected, found) {
        match part {
            Part::Both(text) => line(' ', &text),
            Part::Differ(expected, found) => {
                expected.iter().for_each(|text| line('-', text));
                found.iter().for_each(|text| line('+', text));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn lines_of_both_are_shown_once() {
        assert_eq!(unified(&text("a b c"), &text("a x c")), "     a\n    -b\n    +x\n     c\n");
        assert_eq!(unified(&text("a"), &text("a b")), "     a\n    +b\n");
    }
}
