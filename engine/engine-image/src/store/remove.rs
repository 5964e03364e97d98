//! `rmi` and image prune, with Docker's rules of what may go and its words for what may not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Image, Index, Store};
use crate::digest::{Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::reference::Reference;

/// One line of the answer to a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A reference, familiar form.
    Untagged(String),
    /// An image ID or a layer's chain ID.
    Deleted(Digest),
}

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// 64 hex digits.
    pub container: String,
    pub running: bool,
}

/// Which containers use an image; the daemon knows.
pub type UsedBy<'a> = &'a dyn Fn(&ImageId) -> Vec<Usage>;

struct Conflict {
    hard: bool,
    used: bool,
    message: String,
}

impl Store {
    /// Removes what `text` names. `prune` also removes parents nobody else needs.
    pub fn remove(&self, text: &str, force: bool, prune: bool, used_by: UsedBy<'_>) -> Result<Vec<Removed>> {
        let image = self.lookup(text)?;
        let mut records = Vec::new();
        let by_id = is_id_prefix(&image.id, text);
        if by_id {
            self.untag_by_id(&image, force, used_by, &mut records)?;
        } else if self.untag_by_name(&image, text, force, used_by, &mut records)? {
            return Ok(records);
        }
        self.delete(&image.id, force, prune, !by_id, used_by, &mut records)?;
        Ok(records)
    }

    /// Removes one reference and, with the last tag of a repository, its digests. True if others remain.
    fn untag_by_name(
        &self,
        image: &Image,
        text: &str,
        force: bool,
        used_by: UsedBy<'_>,
        records: &mut Vec<Removed>,
    ) -> Result<bool> {
        let references = self.references_to(&image.id);
        if !force
            && is_single(&references)
            && let Some(user) = used_by(&image.id).first()
        {
            return Err(ImageError::Conflict(format!(
                "conflict: unable to remove repository reference \"{text}\" (must force) - container {} is using its referenced image {}",
                short(&user.container),
                image.id.short()
            )));
        }
        let reference = Reference::parse(text)?.with_default_tag();
        let exact = if references.contains(&reference) {
            reference
        } else {
            reference.digest().map_or(reference.clone(), |digest| reference.with_digest(*digest))
        };
        self.untag(&exact, records)?;
        let left = self.references_to(&image.id);
        if exact.digest().is_none()
            && !left.iter().any(|other| other.digest().is_none() && other.name() == exact.name())
        {
            for other in left.iter().filter(|other| other.name() == exact.name()) {
                self.untag(other, records)?;
            }
        }
        Ok(!self.references_to(&image.id).is_empty())
    }

    /// An ID takes its references along when they are all of one repository.
    fn untag_by_id(
        &self,
        image: &Image,
        force: bool,
        used_by: UsedBy<'_>,
        records: &mut Vec<Removed>,
    ) -> Result<()> {
        let references = self.references_to(&image.id);
        if !is_single(&references) {
            return Ok(());
        }
        if let Some(conflict) = self.conflict(&image.id, force, false, used_by) {
            return Err(conflict.into_error(&image.id));
        }
        references.iter().try_for_each(|reference| self.untag(reference, records))
    }

    fn delete(
        &self,
        id: &ImageId,
        force: bool,
        prune: bool,
        quiet: bool,
        used_by: UsedBy<'_>,
        records: &mut Vec<Removed>,
    ) -> Result<()> {
        if let Some(conflict) = self.conflict(id, force, true, used_by) {
            let dangling = self.references_to(id).is_empty() && self.children(id).is_empty();
            if quiet && (!dangling || conflict.used) {
                return Ok(());
            }
            return Err(conflict.into_error(id));
        }
        for reference in self.references_to(id) {
            self.untag(&reference, records)?;
        }
        let Some(image) = self.image(id) else { return Ok(()) };
        let chains = self.drop_image(&image);
        records.push(Removed::Deleted(*id));
        records.extend(chains.into_iter().map(Removed::Deleted));
        match image.parent {
            Some(parent) if prune && self.image(&parent).is_some() => {
                self.delete(&parent, false, true, true, used_by, records)
            }
            _ => Ok(()),
        }
    }

    /// Takes the image out and returns the chain IDs of layers that went with it, topmost first.
    fn drop_image(&self, image: &Image) -> Vec<Digest> {
        let mut index = self.index();
        self.erase_image(&image.id);
        index.images.remove(&image.id);
        let kept = index.chains_in_use();
        let chains = chain_ids(&image.config.rootfs.diff_ids);
        drop(index);
        self.collect_layers(&image.config.rootfs.diff_ids);
        chains.into_iter().rev().take_while(|chain| !kept.contains(chain)).collect()
    }

    fn conflict(
        &self,
        id: &ImageId,
        force: bool,
        references_count: bool,
        used_by: UsedBy<'_>,
    ) -> Option<Conflict> {
        let hard = |used, message| Some(Conflict { hard: true, used, message });
        let soft = |used, message| Some(Conflict { hard: false, used, message });
        if !self.children(id).is_empty() {
            return hard(false, "image has dependent child images".into());
        }
        let users = used_by(id);
        if let Some(user) = users.iter().find(|user| user.running) {
            return hard(
                true,
                format!("image is being used by running container {}", short(&user.container)),
            );
        }
        if force {
            return None;
        }
        if references_count && !self.references_to(id).is_empty() {
            return soft(false, "image is referenced in multiple repositories".into());
        }
        let user = users.first()?;
        soft(true, format!("image is being used by stopped container {}", short(&user.container)))
    }

    fn references_to(&self, id: &ImageId) -> Vec<Reference> {
        self.index().of(id).cloned().collect()
    }

    /// Removes one reference, durable when it returns.
    fn untag(&self, reference: &Reference, records: &mut Vec<Removed>) -> Result<()> {
        let mut index = self.index();
        let mut references = index.references.clone();
        if references.remove(reference).is_none() {
            return Err(ImageError::NoSuchImage(reference.to_string()));
        }
        self.write_references(&references)?;
        index.references = references;
        records.push(Removed::Untagged(reference.to_string()));
        Ok(())
    }

    /// `image prune`: untagged images nobody uses, or with `all` every unused one, as far as `wanted` says.
    /// Returns what went and the bytes it freed.
    pub fn prune(
        &self,
        all: bool,
        wanted: &dyn Fn(&Image) -> bool,
        used_by: UsedBy<'_>,
    ) -> (Vec<Removed>, u64) {
        let sizes = self.chain_sizes();
        let mut records = Vec::new();
        for image in self.images() {
            let references = self.references_to(&image.id);
            let intermediate = references.is_empty() && !self.children(&image.id).is_empty();
            if intermediate || !wanted(&image) {
                continue;
            }
            let tagged = references.iter().any(|reference| reference.tag().is_some());
            let targets: Vec<String> = match references.is_empty() {
                true => vec![image.id.hex()],
                false if all || !tagged => references.iter().map(Reference::canonical).collect(),
                false => continue,
            };
            for target in targets {
                match self.remove(&target, false, true, used_by) {
                    Ok(removed) => records.extend(removed),
                    Err(error) => tracing::debug!(image = target, %error, "prune leaves an image"),
                }
            }
        }
        let freed = records.iter().filter_map(|record| match record {
            Removed::Deleted(chain) => sizes.get(chain).copied(),
            Removed::Untagged(_) => None,
        });
        let freed = freed.sum();
        (records, freed)
    }

    fn chain_sizes(&self) -> HashMap<Digest, u64> {
        let index = self.index();
        let images = index.images.values();
        let pairs = images.flat_map(|image| {
            let diff_ids = &image.config.rootfs.diff_ids;
            chain_ids(diff_ids).into_iter().zip(diff_ids.clone()).collect::<Vec<_>>()
        });
        pairs
            .map(|(chain, diff_id)| (chain, index.layers.get(&diff_id).map_or(0, |layer| layer.size)))
            .collect()
    }
}

impl Index {
    fn chains_in_use(&self) -> BTreeSet<Digest> {
        let images = self.images.values().map(|image| &image.config.rootfs.diff_ids);
        let writables = self.writables.values().map(|writable| &writable.layers);
        images.chain(writables).flat_map(|diff_ids| chain_ids(diff_ids)).collect()
    }
}

impl Conflict {
    fn into_error(self, id: &ImageId) -> ImageError {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        ImageError::Conflict(format!(
            "conflict: unable to delete {} ({force}) - {}",
            id.short(),
            self.message
        ))
    }
}

/// Docker's names of layer stacks: the first is the layer's own digest, each next one hashes the two.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let chain = match chains.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chains.push(chain);
    }
    chains
}

/// At most one tag, and all digests in the tag's repository.
fn is_single(references: &[Reference]) -> bool {
    if references.len() <= 1 {
        return true;
    }
    let (digests, tags): (Vec<_>, Vec<_>) =
        references.iter().partition(|reference| reference.digest().is_some());
    if tags.len() > 1 {
        return false;
    }
    let repositories: BTreeMap<String, ()> = digests.iter().map(|reference| (reference.name(), ())).collect();
    let own = tags.first().unwrap_or(&digests[0]).name();
    repositories.len() == 1 && repositories.contains_key(&own)
}

fn is_id_prefix(id: &ImageId, text: &str) -> bool {
    !text.is_empty() && (id.to_string().starts_with(text) || id.hex().starts_with(text))
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
