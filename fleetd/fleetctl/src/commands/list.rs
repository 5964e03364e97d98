//! `list-machines`, `list-unit-files`, `list-units`: columns chosen by name.

use std::collections::BTreeMap;

use fleet_api::{Machine, Unit, UnitState};
use fleet_unit::UnitOptions;

use crate::cli::ListArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::table::{or_dash, print, short};
use crate::unit_args::is_global;

/// A column: its name and how a cell is made of an item.
type Column<T> = (&'static str, fn(&T, &Context) -> String);

struct Context {
    full: bool,
    machines: BTreeMap<String, Machine>,
}

impl Context {
    /// `12345678.../10.0.0.1`
    fn machine(&self, id: &str) -> String {
        if id.is_empty() {
            return "-".into();
        }
        match self.machines.get(id).map(|machine| machine.primary_ip.as_str()).filter(|ip| !ip.is_empty()) {
            Some(ip) => format!("{}/{ip}", short(id, self.full)),
            None => short(id, self.full),
        }
    }
}

async fn context(client: &Client, args: &ListArgs) -> Result<Context, Failure> {
    let machines =
        client.machines().await?.into_iter().map(|machine| (machine.id.clone(), machine)).collect();
    Ok(Context { full: args.full, machines })
}

fn show<T>(
    items: &[T],
    known: &[Column<T>],
    default: &str,
    args: &ListArgs,
    context: &Context,
) -> Result<u8, Failure> {
    let fields = args.fields.as_deref().unwrap_or(default);
    if fields.is_empty() {
        return Err(Failure::Plain("Must define output format".into()));
    }
    let mut chosen = Vec::new();
    for field in fields.split(',').map(str::trim) {
        let column = known.iter().find(|(name, _)| *name == field).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            Failure::Usage(format!(
                "Invalid key in output format: \"{field}\"; valid are {}",
                names.join(",")
            ))
        })?;
        chosen.push(*column);
    }
    let headings: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
    let most = if args.max_print_units == 0 { items.len() } else { args.max_print_units };
    let shown = items.iter().take(most);
    let rows: Vec<Vec<String>> =
        shown.map(|item| chosen.iter().map(|(_, cell)| cell(item, context)).collect()).collect();
    if items.len() > most {
        eprintln!("Further units after {most}-th are omitted");
    }
    print(&headings, &rows, !args.no_legend);
    Ok(0)
}

fn print_json<T: serde::Serialize>(items: &[T]) -> Result<u8, Failure> {
    say!("{}", serde_json::to_string(items).map_err(|error| Failure::Protocol(error.to_string()))?);
    Ok(0)
}

pub(crate) async fn machines(client: &Client, args: &ListArgs, json: bool) -> Result<u8, Failure> {
    let context = context(client, args).await?;
    let machines: Vec<Machine> = context.machines.values().cloned().collect();
    if json {
        return print_json(&machines);
    }
    let columns: [Column<Machine>; 3] = [
        ("machine", |machine, context| short(&machine.id, context.full)),
        ("ip", |machine, _| or_dash(&machine.primary_ip)),
        ("metadata", |machine, _| {
            let pairs: Vec<String> =
                machine.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
            or_dash(&pairs.join(","))
        }),
    ];
    show(&machines, &columns, "machine,ip,metadata", args, &context)
}

pub(crate) async fn unit_files(client: &Client, args: &ListArgs, json: bool) -> Result<u8, Failure> {
    let mut units = client.units().await?;
    units.sort_by(|a, b| a.name.cmp(&b.name));
    if json {
        return print_json(&units);
    }
    if args.fields.as_deref().is_some_and(|fields| fields.split(',').any(|field| field.trim() == "tmachine"))
    {
        eprintln!("WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead");
    }
    let target: fn(&Unit, &Context) -> String =
        |unit, context| if is_global(unit) { "global".into() } else { context.machine(&unit.machine_id) };
    let hash: fn(&Unit, &Context) -> String = |unit, context| {
        let hash = UnitOptions(unit.options.clone()).hash();
        if context.full { hash } else { hash[..7].to_owned() }
    };
    let columns: [Column<Unit>; 8] = [
        ("unit", |unit, _| unit.name.clone()),
        ("hash", hash),
        ("dstate", |unit, _| or_dash(&unit.desired_state)),
        ("state", |unit, _| if is_global(unit) { "-".into() } else { or_dash(&unit.current_state) }),
        ("target", target),
        ("tmachine", target),
        ("global", |unit, _| is_global(unit).to_string()),
        ("desc", |unit, _| or_dash(UnitOptions(unit.options.clone()).description())),
    ];
    show(&units, &columns, "unit,hash,dstate,state,target", args, &context(client, args).await?)
}

pub(crate) async fn units(client: &Client, args: &ListArgs, json: bool) -> Result<u8, Failure> {
    let mut states = client.states(None).await?;
    states.sort_by(|a, b| (&a.name, &a.machine_id).cmp(&(&b.name, &b.machine_id)));
    if json {
        return print_json(&states);
    }
    let columns: [Column<UnitState>; 6] = [
        ("unit", |state, _| state.name.clone()),
        ("machine", |state, context| context.machine(&state.machine_id)),
        ("load", |state, _| or_dash(&state.systemd_load_state)),
        ("active", |state, _| or_dash(&state.systemd_active_state)),
        ("sub", |state, _| or_dash(&state.systemd_sub_state)),
        ("hash", |state, context| {
            let hash = &state.hash;
            if context.full { or_dash(hash) } else { or_dash(hash.get(..7).unwrap_or(hash)) }
        }),
    ];
    show(&states, &columns, "unit,machine,active,sub", args, &context(client, args).await?)
}
