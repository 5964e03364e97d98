//! One of the four account files: lines of fields between colons. Lines that are none are kept as they are.

/// The lines of a file, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        Self { lines: text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect() }
    }

    pub(crate) fn render(&self) -> String {
        self.lines.iter().map(|line| line.join(":") + "\n").collect()
    }

    /// The line of that name.
    pub(crate) fn line(&self, name: &str) -> Option<Line<'_>> {
        self.lines().find(|line| line.name() == name)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().filter(|line| line.len() > 1).map(|fields| Line { fields })
    }

    /// Sets a field of the line of that name.
    pub(crate) fn set(&mut self, name: &str, index: usize, value: String) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.len() > 1 && line[0] == name) {
            if line.len() <= index {
                line.resize(index + 1, String::new());
            }
            line[index] = value;
        }
    }

    pub(crate) fn add<const N: usize>(&mut self, fields: [String; N]) {
        self.lines.push(fields.into());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.lines.retain(|line| line.len() < 2 || line[0] != name);
    }

    /// Puts a name into the list that the field of a line holds, if it is not there.
    pub(crate) fn add_to_list(&mut self, line: &str, index: usize, name: &str) {
        let Some(list) = self.line(line).map(|line| line.field(index).to_owned()) else { return };
        if !list.split(',').any(|member| member == name) {
            let list = if list.is_empty() { name.to_owned() } else { format!("{list},{name}") };
            self.set(line, index, list);
        }
    }

    /// Takes a name out of the lists that a field of every line holds.
    pub(crate) fn remove_from_lists(&mut self, index: usize, name: &str) {
        for line in &mut self.lines {
            if let Some(list) = line.get_mut(index)
                && list.split(',').any(|member| member == name)
            {
                *list = list.split(',').filter(|member| *member != name).collect::<Vec<_>>().join(",");
            }
        }
    }
}

/// A line of fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'t> {
    fields: &'t [String],
}

impl<'t> Line<'t> {
    pub(crate) fn name(&self) -> &'t str {
        self.field(0)
    }

    /// A field, or nothing if the line is too short.
    pub(crate) fn field(&self, index: usize) -> &'t str {
        self.fields.get(index).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, index: usize) -> Option<u32> {
        self.field(index).parse().ok()
    }
}
