//! Kafka's names in snake case.

/// `ThrottleTimeMs` → `throttle_time_ms`, `KRaftVersion` → `kraft_version`, `ISR` → `isr`.
#[must_use]
pub fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (k, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() && k > 0 {
            let after_lower = !letters[k - 1].is_ascii_uppercase();
            // The last capital of a run begins a word, except at the very start of the name (`KRaft`).
            let begins = k > 1 && letters.get(k + 1).is_some_and(char::is_ascii_lowercase);
            if after_lower || begins {
                snake.push('_');
            }
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_as_rust_does() {
        for (kafka, rust) in [
            ("ThrottleTimeMs", "throttle_time_ms"),
            ("KRaftVersion", "kraft_version"),
            ("Topics", "topics"),
            ("LastKnownElr", "last_known_elr"),
            ("ISRNodes", "isr_nodes"),
            ("OffsetForLeaderEpoch", "offset_for_leader_epoch"),
        ] {
            assert_eq!(snake(kafka), rust);
        }
    }
}
