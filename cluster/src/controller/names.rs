//! Which topic names are legal, in Kafka's words.

use super::Refusal;
use alloc::format;
use wire::ErrorCode;

/// The longest topic name, in bytes: it becomes a directory name with a partition number behind it.
const NAME_BYTES_MAX: usize = 249;

/// Checks that `name` may name a topic.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION with the reason.
pub fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    if name.is_empty() {
        return refuse("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return refuse(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > NAME_BYTES_MAX {
        return refuse(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}"
        ));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return refuse(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Names that differ only in `.` and `_` collide in metric names.
pub(super) fn collide(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'.' { b'_' } else { byte };
    a.len() == b.len() && a != b && a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// True when the name can collide with another at all.
pub(super) fn can_collide(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'.' | b'_'))
}
