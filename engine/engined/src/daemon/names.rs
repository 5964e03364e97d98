//! Ids and names of containers and volumes.

/// 64 hexadecimal digits that are no number alone, so that a short id cannot be taken for one.
pub(crate) fn new_id() -> String {
    loop {
        let id = hex::encode(rand::random::<[u8; 32]>());
        if !id[..12].bytes().all(|b| b.is_ascii_digit()) {
            return id;
        }
    }
}

pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]+` as Docker has it.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

const MOODS: [&str; 48] = [
    "amber", "brave", "brisk", "calm", "candid", "cheery", "civil", "clever", "cosmic", "crisp", "daring",
    "deft", "eager", "early", "easy", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "mellow",
    "merry", "modest", "neat", "noble", "patient", "plucky", "proud", "quick", "quiet", "ready", "sharp",
    "steady", "sunny", "witty",
];
const PEOPLE: [&str; 48] = [
    "abel", "ampere", "banach", "bell", "bohr", "boole", "brahe", "cantor", "carson", "cerf", "curie",
    "darwin", "diesel", "dijkstra", "euclid", "euler", "faraday", "fermi", "franklin", "galileo", "gauss",
    "goodall", "hamming", "hertz", "hopper", "hypatia", "jemison", "kepler", "knuth", "lamarr", "leavitt",
    "liskov", "lovelace", "maxwell", "meitner", "mendel", "newton", "noether", "pascal", "perlman", "planck",
    "raman", "ride", "shannon", "tesla", "turing", "volta", "wing",
];

/// A name for a container that was given none. `attempt` makes later tries longer.
pub(crate) fn random(attempt: u32) -> String {
    let pick = |list: &'static [&str]| list[usize::from(rand::random::<u8>()) % list.len()];
    let name = format!("{}_{}", pick(&MOODS), pick(&PEOPLE));
    if attempt == 0 { name } else { format!("{name}{}", rand::random::<u16>() % 10u16.pow(attempt.min(4))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_valid("a1") && is_valid("web_1.x-y"));
        assert!(!is_valid("a") && !is_valid("-a") && !is_valid("a b") && !is_valid(""));
        assert!(is_valid(&random(0)) && is_valid(&random(9)));
        assert_eq!(new_id().len(), 64);
    }
}
