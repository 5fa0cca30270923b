//! Docker's way of keeping logs: the live name is a link into a directory of docker's own, where the files are.

use std::io;
use std::path::{Path, PathBuf};

use super::container::Container;
use super::env::Env;
use super::freshness::Freshness;
use super::path::{self, LogName};
use crate::clock::Time;
use crate::files::Kind;

/// Where docker keeps a chain's files.
#[derive(Clone, Debug)]
pub struct Docker {
    /// The container id.
    pub id: String,
    /// Its directory.
    pub directory: PathBuf,
    /// When that was listed.
    pub fresh: Freshness,
}

/// Where a live name that is a link leads to.
pub enum Target {
    /// To docker's log.
    Docker(Docker),
    /// To nothing, at the moment; where docker would put its log, or `None`.
    Missing(Option<Docker>),
    /// To something that must not be read.
    Refused,
}

/// Follows a live name that is a link, if it leads to where docker keeps its logs and nowhere else: within two hops
/// to a regular file `<id>/<id>-json.log`.
pub fn resolve(env: &mut Env, link: &Path) -> io::Result<Target> {
    const HOPS_MAX: usize = 2;
    let mut at = link.to_owned();
    for _ in 0..HOPS_MAX {
        let target = env.files.read_link(&at)?;
        at = at.parent().unwrap_or(Path::new("/")).join(target);
        let meta = match env.files.stat(&at) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Target::Missing(docker_of(&at)));
            }
            Err(error) => {
                env.open_failed(&at, &error);
                return Err(error);
            }
        };
        match meta.kind {
            Kind::Symlink => {}
            Kind::File => return Ok(docker_of(&at).map_or(Target::Refused, Target::Docker)),
            Kind::Directory | Kind::Other => return Ok(Target::Refused),
        }
    }
    Ok(Target::Refused)
}

fn docker_of(live: &Path) -> Option<Docker> {
    let (id, directory) = path::docker_id(live).zip(live.parent())?;
    Some(Docker {
        id: id.to_owned(),
        directory: directory.to_owned(),
        fresh: Freshness::default(),
    })
}

/// Names with their paths, and whether the listing is settled.
type Listed = (Vec<(LogName, PathBuf)>, bool);

/// The names in docker's directory that are the chain's, and whether what the listing lacks is not there.
pub fn list_docker(env: &Env, docker: &mut Docker, now: Time) -> io::Result<Listed> {
    let mut names = Vec::new();
    let before = env.files.stat(&docker.directory)?;
    docker.fresh.needs_listing(&before, now, env.clock.now());
    for entry in env
        .files
        .list(&docker.directory)?
        .into_iter()
        .take(Container::NAMES_MAX)
    {
        if let Some(name) = path::docker_log_name(&entry.name, &docker.id)
            && entry.kind == Kind::File
        {
            names.push((name, docker.directory.join(&entry.name)));
        }
    }
    let after = env.files.stat(&docker.directory)?;
    let settled = docker.fresh.listed(&after, now, env.clock.now());
    Ok((names, settled))
}
