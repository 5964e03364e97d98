//! Ranges in addresses: `10.0.0.[1:3]:2375` is three of them. Only text.

/// A range that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}`: a range is written [FIRST:LAST], with FIRST not above LAST and at most 4096 in all")]
pub struct PatternError(pub String);

const MOST: usize = 4096;

/// Writes an address out, if it holds ranges.
///
/// # Errors
/// When a range is malformed or too large.
pub fn expand(pattern: &str) -> Result<Vec<String>, PatternError> {
    let bad = || PatternError(pattern.to_owned());
    let mut done = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find('[') {
        let close = rest[open..].find(']').ok_or_else(bad)? + open;
        let inside = &rest[open + 1..close];
        let numbers = inside.split_once(':').and_then(|(first, last)| {
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            (first <= last && (last - first) as usize <= MOST).then_some(first..=last)
        });
        // A bracketed IPv6 address is no range.
        let choices: Vec<String> = match numbers {
            Some(numbers) => numbers.map(|number| number.to_string()).collect(),
            None if inside.parse::<std::net::Ipv6Addr>().is_ok() => vec![format!("[{inside}]")],
            None => return Err(bad()),
        };
        if done.len() * choices.len() > MOST {
            return Err(bad());
        }
        let before = &rest[..open];
        done = done
            .iter()
            .flat_map(|start| choices.iter().map(move |c| format!("{start}{before}{c}")))
            .collect();
        rest = &rest[close + 1..];
    }
    Ok(done.into_iter().map(|start| start + rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_out() {
        assert_eq!(expand("a:1").expect("plain"), ["a:1"]);
        assert_eq!(
            expand("10.0.[0:1].[8:9]:5").expect("two"),
            ["10.0.0.8:5", "10.0.0.9:5", "10.0.1.8:5", "10.0.1.9:5"]
        );
        assert_eq!(expand("[fe80::1]:2375").expect("an address"), ["[fe80::1]:2375"]);
        for bad in ["a[3:1]", "a[1", "a[x:2]", "a[0:9999]", "[0:99].[0:99]"] {
            assert_eq!(expand(bad), Err(PatternError(bad.to_owned())));
        }
    }
}
