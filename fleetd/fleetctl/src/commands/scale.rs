//! `scale`: as many instances of a template as are wished, numbered from 1.

use std::collections::BTreeSet;

use fleet_api::Unit;
use fleet_unit::{TargetState, UnitName};

use crate::cli::ScaleArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::unit_args::{submitted, unit_name};

pub(crate) async fn run(client: &Client, args: &ScaleArgs) -> Result<u8, Failure> {
    let template = unit_name(&args.template)?;
    if !template.is_template() {
        return Err(Failure::Usage(format!("{template} is no template; name it like web@ or web@.service")));
    }
    let source = submitted(client, &args.template_file(&template), None).await?;
    let source = source.ok_or_else(|| Failure::NoUnit(template.to_string()))?;
    let all = client.units().await?;
    let numbered: BTreeSet<u32> = all.iter().filter_map(|unit| number_of(&template, &unit.name)).collect();
    for number in 1..=args.instances {
        let name = instance(&template, number)?;
        let options = if numbered.contains(&number) { Vec::new() } else { source.options.clone() };
        let desired_state = TargetState::Launched.to_string();
        client.put_unit(&Unit { name: name.to_string(), desired_state, options, ..Unit::default() }).await?;
    }
    let surplus: Vec<u32> = numbered.into_iter().filter(|number| *number > args.instances).collect();
    for number in &surplus {
        client.delete_unit(instance(&template, *number)?.as_str()).await?;
    }
    say!("{template}: {} wished, {} destroyed", args.instances, surplus.len());
    Ok(0)
}

impl ScaleArgs {
    /// The template's file may be named by its path.
    fn template_file(&self, template: &UnitName) -> String {
        if std::path::Path::new(&self.template).exists() {
            self.template.clone()
        } else {
            template.to_string()
        }
    }
}

fn instance(template: &UnitName, number: u32) -> Result<UnitName, Failure> {
    template.with_instance(&number.to_string()).map_err(|error| Failure::Usage(error.to_string()))
}

fn number_of(template: &UnitName, name: &str) -> Option<u32> {
    let name: UnitName = name.parse().ok()?;
    (name.template().as_ref() == Some(template)).then(|| name.instance()?.parse().ok()).flatten()
}
