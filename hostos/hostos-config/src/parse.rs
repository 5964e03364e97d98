//! From bytes to a config that may be applied: read, decode, translate, validate, each with its place.

use crate::diagnostic::{Diagnostic, Rejected};
use crate::json::{self, Position, Spanned, Value};
use crate::types::{Config, VERSION};
use crate::{decode, validate, version};

/// Reads a config of spec 3.0 to 3.5. `name` is what diagnostics call it.
///
/// # Errors
/// Everything that is wrong with it, with line, column and JSON path.
pub fn parse(source: &[u8], name: &str) -> Result<(Config, Vec<Diagnostic>), Rejected> {
    let reject = |diagnostic: Diagnostic| Rejected::new(vec![diagnostic.in_file(name)]);
    let tree = json::parse(source).map_err(|error| {
        reject(Diagnostic::error("", error.message).at(error.at).hint(version::hint_for_other_text(source)))
    })?;
    let minor = version::minor_of(&tree).map_err(reject)?;
    let (mut config, mut diagnostics) = decode::decode::<Config>(&tree, minor).map_err(reject)?;
    let found = validate::check(&config, minor);
    diagnostics.extend(found.into_iter().map(|diagnostic| place(diagnostic, &tree)));
    let diagnostics: Vec<_> = diagnostics.into_iter().map(|diagnostic| diagnostic.in_file(name)).collect();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Rejected::new(diagnostics));
    }
    config.ignition.version = VERSION.into();
    Ok((config, Rejected::new(diagnostics).diagnostics))
}

/// Gives a diagnostic the place of its path, or of the nearest value above.
fn place(diagnostic: Diagnostic, tree: &Spanned) -> Diagnostic {
    let at = position(tree, &diagnostic.path);
    diagnostic.at(at)
}

fn position(tree: &Spanned, path: &str) -> Position {
    let mut here = tree;
    for step in path.split('.').skip(1) {
        let next = match &here.value {
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            Value::Object(_) => here.member(step).map(|member| &member.value),
            _ => None,
        };
        match next {
            Some(next) => here = next,
            None => break,
        }
    }
    here.at
}
