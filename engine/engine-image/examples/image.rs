//! The store from a command line, for measuring and for looking into one: `image STORE load|save|pull|push|ls …`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use engine_image::registry::{Auth, Registry, RegistryConfig};
use engine_image::{Event, Reference, Sink, Store};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let [root, verb, rest @ ..] = &words[..] else {
        return Err("usage: image STORE load|save|pull|push|ls …".into());
    };
    let store = Store::open(Path::new(root))?;
    let sink: Arc<dyn Sink> =
        Arc::new(|event: Event| println!("{}", serde_json::to_string(&event).unwrap_or_default()));
    let started = Instant::now();
    match (*verb, rest) {
        ("load", [file]) => {
            drop(store.load(BufReader::with_capacity(1 << 20, File::open(file)?), false, &*sink)?)
        }
        ("save", [file, names @ ..]) => {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
            store.save(&store.plan_save(&names)?, &mut out)?;
            out.flush()?;
        }
        ("pull" | "push", [name]) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let registry = Registry::new(RegistryConfig::default());
            let (reference, auth) = (Reference::parse(name)?, Auth::default());
            if *verb == "pull" {
                runtime.block_on(registry.pull(&store, &reference, &auth, None, &sink))?;
            } else {
                runtime.block_on(registry.push(&store, &reference, &auth, &sink))?;
            }
        }
        ("ls", []) => {
            for (reference, id) in store.references() {
                println!("{reference} {id}");
            }
        }
        _ => return Err("usage: image STORE load|save|pull|push|ls …".into()),
    }
    eprintln!("{verb}: {:.3} s", started.elapsed().as_secs_f64());
    Ok(())
}
