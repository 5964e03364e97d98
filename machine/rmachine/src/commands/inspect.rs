//! `rmachine inspect`: the record, and what is known now beyond it.

use std::process::ExitCode;

use clap::Args;
use go_template::{Missing, Template};
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, name_or_default};

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Name of the machine [default: default]
    name: Option<String>,
    /// Print with this Go template, e.g. '{{.Driver.IPAddress}}'
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Inspect) -> Result<ExitCode, Failure> {
    let name = name_or_default(context, args.name.as_ref())?;
    let value = everything(&Machine::load(context, &name)?);
    let template = args.format.as_deref().unwrap_or("{{prettyjson .}}");
    let text = match template {
        "json" => value.to_string(),
        template => Template::parse(template)
            .and_then(|template| template.fill(&value, Missing::NoValue))
            .map_err(|error| Failure::new(error.to_string()))?,
    };
    say!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn everything(machine: &Machine) -> Value {
    let mut value = serde_json::to_value(&machine.record).expect("a record is plain JSON");
    if let (Value::Object(all), Value::Object(live)) = (&mut value, machine.driver.live(&machine.place)) {
        all.extend(live);
    }
    value
}
