//! `cat`: the content of a submitted unit.

use fleet_unit::UnitOptions;

use crate::cli::OneUnit;
use crate::client::Client;
use crate::failure::Failure;
use crate::unit_args::unit_name;

pub(crate) async fn run(client: &Client, args: &OneUnit) -> Result<u8, Failure> {
    let name = unit_name(&args.unit)?;
    let unit =
        client.unit(name.as_str()).await?.ok_or_else(|| Failure::Plain(format!("Unit {name} not found")))?;
    put!("{}", UnitOptions(unit.options).to_text());
    Ok(0)
}
