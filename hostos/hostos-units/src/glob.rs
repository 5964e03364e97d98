//! Shell patterns: `*`, `?`, `[a-z]`.

use std::path::{Path, PathBuf};

/// Does the whole text match?
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if let Some(used) = one(&pattern[p..], text[t]) {
            p += used;
            t += 1;
        } else if let Some((after_star, from)) = star {
            star = Some((after_star, from + 1));
            (p, t) = (after_star, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How many characters of the pattern match this one, if any.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '[' => {
            let close = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
            let (negate, set) = match pattern[1] {
                '!' | '^' => (true, &pattern[2..close]),
                _ => (false, &pattern[1..close]),
            };
            let mut found = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    found |= (set[at]..=set[at + 2]).contains(&c);
                    at += 3;
                } else {
                    found |= set[at] == c;
                    at += 1;
                }
            }
            (found != negate).then_some(close + 1)
        }
        '\\' if pattern.get(1) == Some(&c) => Some(2),
        plain => (plain == c).then_some(1),
    }
}

/// Is this a pattern and not a plain name?
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Does any path match the absolute pattern?
pub(crate) fn any_exists(pattern: &str) -> bool {
    fn below(dir: &Path, parts: &[&str]) -> bool {
        let Some((first, rest)) = parts.split_first() else { return true };
        if !is_pattern(first) {
            let path: PathBuf = dir.join(first);
            return path.exists() && below(&path, rest);
        }
        let Ok(entries) = std::fs::read_dir(dir) else { return false };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            (!name.starts_with('.') || first.starts_with('.'))
                && matches(first, &name)
                && below(&entry.path(), rest)
        })
    }
    let parts: Vec<_> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    below(Path::new("/"), &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*.service", "a.service", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYb", false),
            ("web@[0-9].?", "web@7.x", true),
            ("[!a]b", "ab", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(any_exists("/p*c/self/st?tus") && !any_exists("/proc/self/nothing*"));
    }
}
