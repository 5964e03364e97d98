//! What the kernel command line would have to be.

use crate::types::KernelArguments;

impl KernelArguments {
    /// The command line with what must be there and without what must not; nothing if it is right already.
    #[must_use]
    pub fn change(&self, command_line: &str) -> Option<String> {
        let mut words: Vec<&str> = command_line.split_whitespace().collect();
        let before = words.clone();
        for unwanted in &self.should_not_exist {
            let unwanted: Vec<&str> = unwanted.split_whitespace().collect();
            words.retain(|word| !unwanted.contains(word));
        }
        for wanted in self.should_exist.iter().flat_map(|wanted| wanted.split_whitespace()) {
            if !words.contains(&wanted) {
                words.push(wanted);
            }
        }
        (words != before).then(|| words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes_the_line_and_only_once() {
        let wanted = KernelArguments {
            should_exist: vec!["a=1".into(), "b c".into()],
            should_not_exist: vec!["quiet".into()],
        };
        let line = wanted.change("console=ttyS0 quiet a=1\n").expect("it differs");
        assert_eq!(line, "console=ttyS0 a=1 b c");
        assert_eq!(wanted.change(&line), None);
        assert_eq!(KernelArguments::default().change("x  y\n"), None);
    }
}
