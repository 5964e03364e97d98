//! Shell-style patterns over unit names: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`.

/// Whether the whole of `name` matches `pattern`. A pattern that is not well formed matches nothing,
/// as in fleet.
#[must_use]
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // On a mismatch, the last `*` takes one character more: no recursion, no exponential time.
    let (mut at, mut next) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, next));
            at += 1;
            continue;
        }
        if next == name.len() && at == pattern.len() {
            return true;
        }
        if let Some(consumed) = name.get(next).and_then(|&c| match_one(&pattern[at.min(pattern.len())..], c))
        {
            at += consumed;
            next += 1;
            continue;
        }
        match star {
            Some((star_at, taken)) if taken < name.len() => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                next = taken + 1;
            }
            _ => return false,
        }
    }
}

/// How many pattern characters match the one character, if they do.
fn match_one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '\\' => (pattern.get(1)? == &c).then_some(2),
        '[' => match_class(pattern, c),
        literal => (*literal == c).then_some(1),
    }
}

fn match_class(pattern: &[char], c: char) -> Option<usize> {
    let negated = pattern.get(1) == Some(&'^');
    let mut at = if negated { 2 } else { 1 };
    let (mut found, mut ranges) = (false, 0);
    while ranges == 0 || *pattern.get(at)? != ']' {
        let low = class_char(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&'-') {
            at += 1;
            class_char(pattern, &mut at)?
        } else {
            low
        };
        found |= (low..=high).contains(&c);
        ranges += 1;
    }
    (found != negated).then_some(at + 1)
}

fn class_char(pattern: &[char], at: &mut usize) -> Option<char> {
    let mut c = *pattern.get(*at)?;
    if c == '-' || c == ']' {
        return None;
    }
    if c == '\\' {
        *at += 1;
        c = *pattern.get(*at)?;
    }
    *at += 1;
    Some(c)
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("web@*.service", "web@1.service", true),
            ("web@*.service", "web.service", false),
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("?", "", false),
            ("db@?.service", "db@1.service", true),
            ("db@?.service", "db@12.service", false),
            ("db@[0-4].service", "db@3.service", true),
            ("db@[0-4].service", "db@7.service", false),
            ("db@[^0-4].service", "db@7.service", true),
            ("a*b*c", "aXXbYYbZc", true),
            ("a*b*c", "aXXbYYbZ", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("[", "[", false),
            ("[]", "]", false),
            ("a[b", "ab", false),
        ] {
            assert_eq!(glob_matches(pattern, name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_ends_soon() {
        assert!(!glob_matches(&"*a".repeat(60), &"a".repeat(59)));
    }
}
