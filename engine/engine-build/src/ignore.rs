//! `.dockerignore`: which paths of a context are left out. Later lines win; `!` takes back; `**` crosses folders.

use crate::golang;

/// The patterns of a `.dockerignore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    parts: Vec<String>,
    taken_back: bool,
}

impl Ignore {
    /// Reads the file's text; a malformed pattern is named.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.trim();
            let (taken_back, line) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            let parts: Vec<String> =
                line.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
            if parts.iter().any(|part| golang::matches(part, "x").is_none()) {
                return Err(format!("error checking context: 'syntax error in pattern: {line}'."));
            }
            patterns.push(Pattern { parts, taken_back });
        }
        Ok(Self { patterns })
    }

    /// True if the path (relative, slashes) is left out, itself or with a folder above it.
    pub fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            if pattern.taken_back != excluded {
                continue;
            }
            let fits = (1..=parts.len()).any(|length| fits(&pattern.parts, &parts[..length]));
            if fits {
                excluded = !pattern.taken_back;
            }
        }
        excluded
    }
}

fn fits(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => {
            // At the end it stands for something, elsewhere also for nothing.
            if rest.is_empty() {
                !path.is_empty()
            } else {
                (0..=path.len()).any(|skipped| fits(rest, &path[skipped..]))
            }
        }
        Some((first, rest)) => path.split_first().is_some_and(|(name, below)| {
            let simple = first.replace("**", "*");
            golang::matches(&simple, name).unwrap_or(false) && fits(rest, below)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let ignore =
            Ignore::parse("# c\n*.log\n/tmp\n**/node\n!keep.log\ndocs/**\n!docs/a/b\n").expect("fine");
        let cases = [
            ("x.log", true),
            ("d/x.log", false),
            ("keep.log", false),
            ("tmp/a/b", true),
            ("a/tmp", false),
            ("a/b/node", true),
            ("node/x", true),
            ("docs/x", true),
            ("docs", false),
            ("docs/a/b", false),
            ("docs/a/b/c", false),
        ];
        for (path, expected) in cases {
            assert_eq!(ignore.excludes(path), expected, "{path}");
        }
        assert!(Ignore::parse("[a").is_err());
    }
}
