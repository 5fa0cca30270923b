//! Addresses that the `host-local` plugin has given out: one file each, `<data directory>/<network>/<address>`, with
//! the id of the sandbox in its first line; and the ranges in the plugins' configuration.
//!
//! Invariant: the files are read again only when their directory has changed, for nothing rewrites one in place. They
//! are readable by root alone on most nodes, their names by all: what they say is used where it can be read.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::range::{Cidr, Family, Range};
use crate::node::host::Host;

/// More of anything in one directory is not looked at.
const ENTRIES_MAX: usize = 65_536;

/// More configurations or networks are not looked at.
const NETWORKS_MAX: usize = 64;

/// More of one file of an address is not read.
const FILE_BYTES_MAX: usize = 1024;

/// The configuration is read again after so many samples.
const CONFIGURED_EVERY: u64 = 16;

/// A directory that changed less long ago may change again without another time of change.
const SETTLED: Duration = Duration::from_secs(2);

/// An address that is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Of which addresses.
    pub family: Family,
    /// The sandbox that has it, if the file could be read.
    pub sandbox: Option<String>,
}

/// What a configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configured {
    /// Where addresses come from.
    pub ranges: Vec<Range>,
    /// The networks as they are written, for people.
    pub subnets: Vec<String>,
    data_directories: Vec<PathBuf>,
}

/// What is known so far.
#[derive(Debug, Default)]
pub struct HostLocal {
    /// What the configuration says.
    pub configured: Configured,
    networks: Vec<Network>,
    sample: u64,
}

#[derive(Debug)]
struct Network {
    directory: PathBuf,
    changed: Option<SystemTime>,
    reservations: Vec<Reservation>,
}

impl HostLocal {
    /// Brings it up to date. `data` and `configuration` are directories of the host.
    pub fn refresh(&mut self, host: &Host, data: &Path, configuration: &Path, now: SystemTime) {
        if self.sample.is_multiple_of(CONFIGURED_EVERY) {
            self.configured = configured(host, &below(host, configuration));
        }
        self.sample += 1;
        let mut found = Vec::new();
        let more = self.configured.data_directories.iter();
        for directory in std::iter::once(data).chain(more.map(PathBuf::as_path)) {
            let Ok(entries) = fs::read_dir(below(host, directory)) else {
                continue;
            };
            let directories = entries
                .map_while(Result::ok)
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path());
            for path in directories.take(NETWORKS_MAX) {
                if !found.contains(&path) {
                    found.push(path);
                }
            }
        }
        self.networks
            .retain(|network| found.contains(&network.directory));
        for directory in found {
            if !self
                .networks
                .iter()
                .any(|known| known.directory == directory)
            {
                self.networks.push(Network {
                    directory,
                    changed: None,
                    reservations: Vec::new(),
                });
            }
        }
        for network in &mut self.networks {
            network.refresh(now);
        }
    }

    /// Whether the node uses the plugin.
    pub fn is_used(&self) -> bool {
        !self.networks.is_empty() || !self.configured.ranges.is_empty()
    }

    /// The addresses that are given out.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.networks
            .iter()
            .flat_map(|network| &network.reservations)
    }
}

impl Network {
    fn refresh(&mut self, now: SystemTime) {
        let changed = fs::metadata(&self.directory).and_then(|meta| meta.modified());
        let Ok(changed) = changed else {
            self.reservations.clear();
            self.changed = None;
            return;
        };
        if self.changed == Some(changed) {
            return;
        }
        let settled = now.duration_since(changed).is_ok_and(|age| age > SETTLED);
        self.changed = settled.then_some(changed);
        self.reservations.clear();
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.map_while(Result::ok).take(ENTRIES_MAX) {
            let address = entry.file_name();
            let address = address
                .to_str()
                .and_then(|name| name.parse::<IpAddr>().ok());
            if let Some(address) = address {
                self.reservations.push(Reservation {
                    family: Family::of(address),
                    sandbox: sandbox(&entry.path()),
                });
            }
        }
    }
}

/// A directory of the host below where its root is mounted.
fn below(host: &Host, path: &Path) -> PathBuf {
    host.root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The first line of an address's file.
fn sandbox(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(FILE_BYTES_MAX as u64)
        .read_to_string(&mut text)
        .ok()?;
    let id = text.lines().next()?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// What all configurations in a directory say.
fn configured(host: &Host, directory: &Path) -> Configured {
    let mut configured = Configured::default();
    let Ok(entries) = fs::read_dir(directory) else {
        return configured;
    };
    let mut paths: Vec<PathBuf> = entries
        .map_while(Result::ok)
        .take(ENTRIES_MAX)
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("conf" | "conflist" | "json"))
        })
        .collect();
    paths.sort();
    paths.truncate(NETWORKS_MAX);
    let mut text = String::new();
    for path in paths {
        if host.read(&path, &mut text).is_ok()
            && let Ok(value) = serde_json::from_str::<Value>(&text)
        {
            let plugins = value.get("plugins").and_then(Value::as_array);
            let plugins = plugins.map_or(std::slice::from_ref(&value), Vec::as_slice);
            for plugin in plugins.iter().take(NETWORKS_MAX) {
                if let Some(ipam) = plugin.get("ipam") {
                    configured.add(ipam);
                }
            }
        }
    }
    configured
}

impl Configured {
    /// Adds one `ipam` section: `ranges` is a list of sets of ranges; older ones have a single range in the section
    /// itself.
    fn add(&mut self, ipam: &Value) {
        let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
        if text(ipam, "type").as_deref() != Some("host-local") {
            return;
        }
        if let Some(directory) = text(ipam, "dataDir").filter(|path| path.starts_with('/')) {
            let path = PathBuf::from(directory);
            let plain = path
                .components()
                .all(|part| !matches!(part, std::path::Component::ParentDir));
            if plain && self.data_directories.len() < NETWORKS_MAX {
                self.data_directories.push(path);
            }
        }
        let sets = ipam.get("ranges").and_then(Value::as_array);
        let sets = sets.into_iter().flatten().filter_map(Value::as_array);
        for range in sets.flatten().chain([ipam]).take(NETWORKS_MAX) {
            let Some(subnet) = text(range, "subnet") else {
                continue;
            };
            let Some(cidr) = Cidr::parse(&subnet) else {
                continue;
            };
            let address = |key| text(range, key)?.parse().ok();
            let range = Range {
                subnet: cidr,
                start: address("rangeStart"),
                end: address("rangeEnd"),
                gateway: address("gateway"),
            };
            if !self.ranges.contains(&range) {
                self.ranges.push(range);
                self.subnets.push(subnet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_and_ranges_are_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/cni/net.d/10-kindnet.conflist",
            r#"{"name":"kindnet","plugins":[{"type":"ptp","ipam":{"type":"host-local","dataDir":"/run/ipam","ranges":[[{"subnet":"10.244.0.0/24"}],[{"subnet":"fd00::/64"}]]}},{"type":"portmap"}]}"#,
        );
        write("etc/cni/net.d/20-broken.conf", "{");
        write(
            "etc/cni/net.d/99-off.conflist.disabled",
            r#"{"ipam":{"type":"host-local","subnet":"1.0.0.0/8"}}"#,
        );
        write("run/ipam/kindnet/10.244.0.2", "abc\r\neth0");
        write("run/ipam/kindnet/fd00::2", "abc\r\neth0");
        write("run/ipam/kindnet/last_reserved_ip.0", "10.244.0.2");
        write("run/ipam/kindnet/lock", "");
        write("var/lib/cni/networks/cbr0/10.0.0.9", "");
        let host = Host {
            proc: root.path().to_owned(),
            sys: root.path().to_owned(),
            root: root.path().to_owned(),
        };
        let mut plugin = HostLocal::default();
        let (data, configuration) = (
            Path::new("/var/lib/cni/networks"),
            Path::new("/etc/cni/net.d"),
        );
        plugin.refresh(&host, data, configuration, SystemTime::now());
        assert_eq!(plugin.configured.subnets, ["10.244.0.0/24", "fd00::/64"]);
        let mut found: Vec<_> = plugin
            .reservations()
            .map(|one| (one.family, one.sandbox.as_deref()))
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                (Family::V4, None),
                (Family::V4, Some("abc")),
                (Family::V6, Some("abc"))
            ]
        );
        fs::remove_file(root.path().join("run/ipam/kindnet/10.244.0.2")).unwrap();
        plugin.refresh(&host, data, configuration, SystemTime::now());
        assert_eq!(plugin.reservations().count(), 2);
    }

    proptest! {
        /// No configuration stops it.
        #[test]
        fn any_configuration_is_taken(text in r#"(\{|\}|\[|\]|"ipam":|"type":"host-local"|,|"ranges":|"subnet":"10.0.0.0/24"|"x"){0,16}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                Configured::default().add(&value);
            }
        }
    }
}
