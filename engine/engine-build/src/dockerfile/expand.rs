//! Variables, quotes and escapes in a Dockerfile's words, by the rules of Docker's small shell lexer.

/// Expands words with an environment of `NAME=value`; of doubled names the first counts.
pub struct Expander<'a> {
    pub escape: char,
    pub environment: &'a [String],
}

impl Expander<'_> {
    /// One word: quotes go, variables become values, white space stays.
    pub fn word(&self, text: &str) -> Result<String, String> {
        let mut scan = Scan { rest: text, expander: self, words: Words::default() };
        let result = scan.until(None).map_err(|reason| format!("failed to process {text:?}: {reason}"))?;
        Ok(result)
    }

    /// As [`Expander::word`], then split at white space that came from outside quotes.
    pub fn words(&self, text: &str) -> Result<Vec<String>, String> {
        let mut scan = Scan { rest: text, expander: self, words: Words::default() };
        scan.until(None).map_err(|reason| format!("failed to process {text:?}: {reason}"))?;
        Ok(scan.words.finish())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, v)| v))
    }
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: Option<String>,
}

impl Words {
    fn raw(&mut self, text: &str) {
        self.current.get_or_insert_default().push_str(text);
    }

    fn split(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.done.extend(self.current.take());
            } else {
                self.current.get_or_insert_default().push(c);
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.done.extend(self.current);
        self.done
    }
}

struct Scan<'a, 'b> {
    rest: &'a str,
    expander: &'b Expander<'b>,
    words: Words,
}

impl Scan<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn until(&mut self, stop: Option<char>) -> Result<String, String> {
        let mut result = String::new();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                return Ok(result);
            }
            match c {
                '\'' => {
                    let text = self.single_quoted()?;
                    self.words.raw(&text);
                    result.push_str(&text);
                }
                '"' => {
                    let text = self.double_quoted()?;
                    self.words.raw(&text);
                    result.push_str(&text);
                }
                '$' => {
                    let text = self.dollar()?;
                    self.words.split(&text);
                    result.push_str(&text);
                }
                _ => {
                    self.next();
                    if c == self.expander.escape {
                        let Some(escaped) = self.next() else { break };
                        self.words.raw(escaped.encode_utf8(&mut [0; 4]));
                        result.push(escaped);
                    } else {
                        self.words.split(c.encode_utf8(&mut [0; 4]));
                        result.push(c);
                    }
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
            None => Ok(result),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        self.next();
        let Some((inside, rest)) = self.rest.split_once('\'') else {
            return Err("unexpected end of statement while looking for matching single-quote".into());
        };
        self.rest = rest;
        Ok(inside.to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        self.next();
        let mut result = String::new();
        loop {
            match self.peek() {
                None => {
                    return Err("unexpected end of statement while looking for matching double-quote".into());
                }
                Some('"') => {
                    self.next();
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) => {
                    self.next();
                    if c == self.expander.escape {
                        match self.peek() {
                            None => continue,
                            Some(escaped) if escaped == '"' || escaped == '$' || escaped == c => {
                                self.next();
                                result.push(escaped);
                                continue;
                            }
                            Some(_) => {}
                        }
                    }
                    result.push(c);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            return Ok(self.expander.value(&name).unwrap_or_default().to_owned());
        }
        self.next();
        match self.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            _ => {}
        }
        let name = self.name();
        let value = self.expander.value(&name).map(str::to_owned);
        match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some('?') => {
                let word = self.modifier_word()?;
                value.ok_or_else(|| complaint(&name, &word, "is not allowed to be unset"))
            }
            Some(':') => self.modified(&name, value),
            _ => Err("missing ':' in substitution".into()),
        }
    }

    /// `${name:-word}` and its kin; the word may hold variables again.
    fn modified(&mut self, name: &str, value: Option<String>) -> Result<String, String> {
        let modifier = self.next();
        let word = self.modifier_word()?;
        match modifier {
            Some('+') => Ok(value.filter(|value| !value.is_empty()).map_or(String::new(), |_| word)),
            Some('-') => Ok(value.filter(|value| !value.is_empty()).unwrap_or(word)),
            Some('?') => match value {
                None => Err(complaint(name, &word, "is not allowed to be unset")),
                Some(value) if value.is_empty() => Err(complaint(name, &word, "is not allowed to be empty")),
                Some(value) => Ok(value),
            },
            other => Err(format!("unsupported modifier ({}) in substitution", other.unwrap_or(' '))),
        }
    }

    fn modifier_word(&mut self) -> Result<String, String> {
        // Words of the modifier are no words of the line.
        let words = std::mem::take(&mut self.words);
        let word = self.until(Some('}')).map_err(|reason| match self.rest.is_empty() {
            true => "syntax error: missing '}'".to_owned(),
            false => reason,
        });
        self.words = words;
        word
    }

    /// A name, a number, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let take = |text: &str, fits: fn(char) -> bool| text.find(|c| !fits(c)).unwrap_or(text.len());
        let length = match self.peek() {
            Some(c) if c.is_ascii_digit() => take(self.rest, |c| c.is_ascii_digit()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => take(self.rest, |c| c.is_alphanumeric() || c == '_'),
        };
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name.to_owned()
    }
}

fn complaint(name: &str, word: &str, default: &str) -> String {
    format!("{name}: {}", if word.is_empty() { default } else { word })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_expand_as_dockers() {
        let environment: Vec<String> = ["A=1", "E=", "S=x y", "A=2"].map(str::to_owned).to_vec();
        let expander = Expander { escape: '\\', environment: &environment };
        let cases = [
            ("$A-${A}", "1-1"),
            ("$N.${N}", "."),
            ("${N:-d$A}", "d1"),
            ("${E:-d}", "d"),
            ("${A:+w}", "w"),
            ("${N:+w}", ""),
            ("'$A'", "$A"),
            ("\"$A\\$A\\x\"", "1$A\\x"),
            ("\\$A", "$A"),
            ("a$", "a$"),
            ("$S", "x y"),
        ];
        for (text, expected) in cases {
            assert_eq!(expander.word(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expander.words("$S 'a b' z"), Ok(vec!["x".into(), "y".into(), "a b".into(), "z".into()]));
    }

    #[test]
    fn errors_are_dockers() {
        let expander = Expander { escape: '\\', environment: &[] };
        let cases = [
            ("${x", "failed to process \"${x\": missing ':' in substitution"),
            ("${x:?no}", "failed to process \"${x:?no}\": x: no"),
            ("${x:?}", "failed to process \"${x:?}\": x: is not allowed to be unset"),
            ("${}", "failed to process \"${}\": syntax error: bad substitution"),
            ("${x:-a", "failed to process \"${x:-a\": syntax error: missing '}'"),
        ];
        for (text, expected) in cases {
            assert_eq!(expander.word(text), Err(expected.to_owned()));
        }
    }
}
