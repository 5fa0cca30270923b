//! What a pod belongs to, from its own owner references: no further request is made.

use crate::pods::Workload;

/// Digits of the moment that a CronJob puts behind its Jobs' names: minutes since 1970, seconds in older versions.
const MOMENT_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

/// The workload of a pod that is controlled by this owner. A ReplicaSet whose name ends in the hash of its template is
/// a Deployment's, and a Job whose name ends in a moment a CronJob's: names are all there is to tell.
pub fn workload(kind: &str, name: &str, template_hash: Option<&str>) -> Workload {
    let made_by = |kind: &str, name: &str| Workload {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let (stem, tail) = name.rsplit_once('-').unwrap_or_default();
    match kind {
        "ReplicaSet" if !stem.is_empty() && template_hash == Some(tail) => {
            made_by("Deployment", stem)
        }
        "Job" if !stem.is_empty() && is_moment(tail) => made_by("CronJob", stem),
        _ => made_by(kind, name),
    }
}

fn is_moment(text: &str) -> bool {
    MOMENT_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_name_deployments_and_cron_jobs() {
        let named = |kind, name, hash| {
            let workload = workload(kind, name, hash);
            format!("{}/{}", workload.kind, workload.name)
        };
        let hash = Some("7d4b9c");
        assert_eq!(
            named("ReplicaSet", "web-api-7d4b9c", hash),
            "Deployment/web-api"
        );
        assert_eq!(named("ReplicaSet", "web-api", hash), "ReplicaSet/web-api");
        assert_eq!(
            named("ReplicaSet", "web-7d4b9c", None),
            "ReplicaSet/web-7d4b9c"
        );
        assert_eq!(named("ReplicaSet", "-7d4b9c", hash), "ReplicaSet/-7d4b9c");
        assert_eq!(named("Job", "nightly-28912345", None), "CronJob/nightly");
        assert_eq!(named("Job", "import-7", None), "Job/import-7");
        assert_eq!(named("StatefulSet", "db", None), "StatefulSet/db");
        assert_eq!(named("DaemonSet", "cni", hash), "DaemonSet/cni");
    }
}
