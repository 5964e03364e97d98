//! `why`: the scheduler's reasons.

use crate::cli::OneUnit;
use crate::client::Client;
use crate::failure::Failure;
use crate::unit_args::unit_name;

pub(crate) async fn run(client: &Client, args: &OneUnit, json: bool) -> Result<u8, Failure> {
    let why = client.why(unit_name(&args.unit)?.as_str()).await?;
    if json {
        say!("{}", serde_json::to_string(&why).map_err(|error| Failure::Protocol(error.to_string()))?);
    } else {
        say!("{}: {}", why.name, why.explanation);
    }
    Ok(0)
}
