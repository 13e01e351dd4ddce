//! Paths that cannot leave the data directory.

use super::{DiskError, DiskErrorKind, Operation};

/// Refuses absolute paths, empty components and steps upwards. `""` is the data directory itself.
pub(super) fn check(path: &str, operation: Operation) -> Result<(), DiskError> {
    let fine = path.is_empty()
        || path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    if fine { Ok(()) } else { Err(DiskError::new(DiskErrorKind::InvalidPath, operation, path)) }
}

/// The directory of a path and the name in it.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Both paths are sound and lie in the same directory, which is returned with both names.
pub(super) fn check_rename<'a>(from: &'a str, to: &'a str) -> Result<(&'a str, &'a str, &'a str), DiskError> {
    check(from, Operation::Rename)?;
    check(to, Operation::Rename)?;
    let ((parent, from_name), (to_parent, to_name)) = (split(from), split(to));
    if parent == to_parent && !from_name.is_empty() && !to_name.is_empty() {
        Ok((parent, from_name, to_name))
    } else {
        Err(DiskError::new(DiskErrorKind::InvalidPath, Operation::Rename, to))
    }
}
