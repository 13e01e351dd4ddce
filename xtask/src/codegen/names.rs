//! Kafka's names in Rust's spelling.

use schema::snake;

/// The field's name, escaped where Rust has taken it.
pub(crate) fn field(name: &str) -> String {
    let snake = snake(name);
    match snake.as_str() {
        "match" | "type" | "move" | "ref" | "use" | "where" => format!("r#{snake}"),
        _ => snake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_rust_has_taken() {
        assert_eq!(field("Match"), "r#match");
        assert_eq!(field("ErrorCode"), "error_code");
    }
}
