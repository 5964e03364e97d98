//! `EXPOSE`: `80`, `80/udp`, `90-92/tcp` as the set's keys.

/// The ports a word means, each with its protocol.
pub(crate) fn expand(word: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    // A host part is allowed and means nothing here.
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("Invalid containerPort: {range}"));
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(format!("Invalid containerPort: {range}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_expand() {
        assert_eq!(expand("80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(expand("90-91/UDP"), Ok(vec!["90/udp".into(), "91/udp".into()]));
        assert_eq!(expand("x"), Err("Invalid containerPort: x".into()));
        assert_eq!(expand("1/x"), Err("Invalid proto: x".into()));
    }
}
