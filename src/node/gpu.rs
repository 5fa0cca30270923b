//! Graphics processors: how many the node has. What they do is told by their own exporter, which is scraped.

use super::Collect;
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};

const DEVICES: Spec = Spec::gauge(
    "node_gpu_devices",
    Unit::Count,
    "Graphics processors with a device file on the node.",
);

/// More files of one directory are not looked at.
const FILES_MAX: usize = 65_536;

/// The collector: counts the host's `/dev/nvidia<number>`.
#[derive(Debug, Default)]
pub struct Gpus;

impl Collect for Gpus {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        if !out.wants(&DEVICES) {
            return Ok(());
        }
        let path = host.root.join("dev");
        let entries = std::fs::read_dir(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => HostError::Missing { path },
            _ => HostError::Unreadable { path, source },
        })?;
        let names = entries.take(FILES_MAX).filter_map(Result::ok);
        let count = names.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu));
        out.add(&DEVICES, &[("vendor", "nvidia")], count.count() as f64);
        Ok(())
    }
}

fn is_gpu(name: &str) -> bool {
    let number = name.strip_prefix("nvidia");
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_processors_count() {
        let root = tempfile::tempdir().unwrap();
        let dev = root.path().join("dev");
        let host = Host {
            proc: root.path().to_owned(),
            sys: root.path().to_owned(),
            root: root.path().to_owned(),
        };
        let mut snapshot = Snapshot::new(SystemTime::UNIX_EPOCH, Arc::new(|_| true), 10);
        assert!(matches!(
            Gpus.collect(&host, &mut snapshot),
            Err(HostError::Missing { .. })
        ));
        std::fs::create_dir(&dev).unwrap();
        for name in ["nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia"] {
            std::fs::write(dev.join(name), "").unwrap();
        }
        Gpus.collect(&host, &mut snapshot).unwrap();
        let count = snapshot.value("node_gpu_devices", &[("vendor", "nvidia")]);
        assert_eq!(count, Some(2.0));
    }
}
