//! The keys that detach a client from a terminal, by default Ctrl-P Ctrl-Q.

/// Finds the sequence in what is typed.
#[derive(Debug, Clone)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    /// How much of it has been typed so far.
    matched: usize,
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q`; empty means the default.
    pub(crate) fn parse(text: &str) -> Result<DetachKeys, String> {
        let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
        let sequence = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        let sequence = sequence.ok_or_else(|| format!("Invalid detach keys ({text}) provided"))?;
        Ok(DetachKeys { sequence, matched: 0 })
    }

    /// What of `typed` goes to the program, and whether the sequence is complete.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut through = Vec::with_capacity(typed.len());
        for byte in typed {
            if *byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return (through, true);
                }
                continue;
            }
            // Not the sequence after all: what was held back goes through.
            through.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(*byte == self.sequence[0]);
            if self.matched == 0 {
                through.push(*byte);
            }
        }
        (through, false)
    }
}

fn key(text: &str) -> Option<u8> {
    if let [one] = text.as_bytes() {
        return Some(*one);
    }
    let name = text.strip_prefix("ctrl-")?;
    match name.as_bytes() {
        [c @ b'a'..=b'z'] => Some(c - b'a' + 1),
        [c @ b'@'..=b'_'] => Some(c - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_over_pieces() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10\x11z"), (b"\x10".to_vec(), true));
        let mut keys = DetachKeys::parse("ctrl-[,q").unwrap();
        assert_eq!(keys.filter(b"\x1bq"), (vec![], true));
        assert!(DetachKeys::parse("ctrl-,").is_err() && DetachKeys::parse("ab").is_err());
    }
}
