//! `rmachine image`: the images in the store.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use machine_store::Image;

use crate::context::Context;
use crate::failure::Failure;
use crate::table::align;

/// What to do with images.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the images in the store
    Ls {
        /// Print a table, or json
        #[arg(long, default_value = "table")]
        format: String,
    },
    /// Bring an image into the store
    Add {
        /// Folder with a manifest.json
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Remove images from the store
    Rm {
        /// Ids or versions
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
        /// Even if machines use it
        #[arg(long, short)]
        force: bool,
    },
    /// Compare images with their manifests, byte by byte
    Verify {
        /// Ids or versions [default: all]
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
}

pub(crate) fn run(context: &Context, args: &ImageArgs) -> Result<ExitCode, Failure> {
    match &args.verb {
        Verb::Ls { format } => ls(context, format)?,
        Verb::Add { dir } => say!("{}", Image::add(&context.store, dir)?.id),
        Verb::Rm { images, force } => {
            for wanted in images {
                rm(context, wanted, *force)?;
            }
        }
        Verb::Verify { images } => verify(context, images)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn ls(context: &Context, format: &str) -> Result<(), Failure> {
    let images = Image::list(&context.store)?;
    let users = users(context)?;
    let used_by = |image: &Image| -> Vec<&str> {
        users.iter().filter(|(_, id)| *id == image.id).map(|(name, _)| name.as_str()).collect()
    };
    match format {
        "json" => {
            let value: Vec<_> = images
                .iter()
                .map(|image| {
                    serde_json::json!({
                        "Id": image.id, "Version": image.manifest.version,
                        "Kernel": image.manifest.kernel_version, "Size": image.size(),
                        "UsedBy": used_by(image),
                    })
                })
                .collect();
            say!("{}", serde_json::Value::from(value));
        }
        "table" => {
            let header = ["ID", "VERSION", "KERNEL", "SIZE", "USED BY"];
            let mut lines = vec![header.map(str::to_owned).to_vec()];
            lines.extend(images.iter().map(|image| {
                vec![
                    image.id.clone(),
                    image.manifest.version.clone(),
                    image.manifest.kernel_version.clone(),
                    format!("{:.1} MB", image.size() as f64 / 1e6),
                    used_by(image).join(","),
                ]
            }));
            put!("{}", align(&lines));
        }
        other => return Err(Failure::new(format!("`{other}` is no format: use table or json"))),
    }
    Ok(())
}

fn rm(context: &Context, wanted: &str, force: bool) -> Result<(), Failure> {
    let images = Image::list(&context.store)?;
    let matches = |image: &Image| image.id == wanted || image.manifest.version == wanted;
    let found: Vec<Image> = images.into_iter().filter(matches).collect();
    let [image] = <[Image; 1]>::try_from(found).map_err(|found| match found.len() {
        0 => Failure::new(format!("there is no image `{wanted}` in the store"))
            .hint("see them with `rmachine image ls`"),
        count => Failure::new(format!("{count} images have the version `{wanted}`"))
            .hint("name one by its id, from `rmachine image ls`"),
    })?;
    let users = users(context)?;
    if let (false, Some((name, _))) = (force, users.iter().find(|(_, id)| *id == image.id)) {
        return Err(Failure::new(format!("machine `{name}` boots the image `{}`", image.id))
            .hint(format!("`rmachine upgrade {name}` first, or remove the machine")));
    }
    say!("{}", image.id);
    Ok(image.remove(&context.store)?)
}

fn verify(context: &Context, wanted: &[String]) -> Result<(), Failure> {
    let is_wanted = |image: &Image| wanted.is_empty() || wanted.iter().any(|name| image.id.starts_with(name));
    let images: Vec<Image> = Image::list(&context.store)?.into_iter().filter(is_wanted).collect();
    if images.is_empty() && !wanted.is_empty() {
        return Err(
            Failure::new("there is no such image in the store").hint("see them with `rmachine image ls`")
        );
    }
    for image in images {
        image.verify()?;
        say!("{}: ok", image.id);
    }
    Ok(())
}

/// Machines and the images they boot.
fn users(context: &Context) -> Result<Vec<(String, String)>, Failure> {
    let names = context.store.names()?;
    let image = |name| {
        let record = context.store.load(name).ok()?;
        Some((name.to_string(), record.driver.get("Image")?.as_str()?.to_owned()))
    };
    Ok(names.iter().filter_map(image).collect())
}
