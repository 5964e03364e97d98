//! Just enough of unit syntax to see whether a text can be read, and which sections have options.
//!
//! Which texts are refused is the elder's judgement: it skips all that stands before the first section.

/// Why a text is no unit.
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: String,
}

/// What a readable text holds.
#[derive(Default)]
pub(super) struct Outline {
    /// The sections with at least one option, once for each option.
    pub(super) sections: Vec<String>,
    /// The first line before any section that is no comment.
    pub(super) stray: Option<usize>,
}

pub(super) fn outline(text: &str) -> Result<Outline, Fault> {
    let mut outline = Outline::default();
    let mut section: Option<String> = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let fault = |message: String| Fault { line: number + 1, message };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let (name, garbage) =
                rest.split_once(']').ok_or_else(|| fault("the section has no `]`".into()))?;
            if !garbage.trim().is_empty() {
                return Err(fault(format!("`{garbage}` after the section [{name}]")));
            }
            section = Some(name.into());
            continue;
        }
        if !line.starts_with(['#', ';']) {
            match &section {
                None => outline.stray = outline.stray.or(Some(number + 1)),
                Some(_) if !line.contains('=') => {
                    return Err(fault(format!("`{line}` is neither a section nor an option with `=`")));
                }
                Some(section) => outline.sections.push(section.clone()),
            }
        }
        let mut continued = line.ends_with('\\');
        while continued {
            continued = lines.next().is_some_and(|(_, next)| next.trim_end().ends_with('\\'));
        }
    }
    Ok(outline)
}
