//! What the cluster says of a chain's pod, as much of it as a sink wants, for encoders to name in their own way. Made
//! once for each chain and change, never per record.

use crate::config::MetadataFields;
use crate::pods::Workload;
use crate::pods::image::Image;
use crate::record::ChainMeta;

/// Annotations with this in their name are the kubelet's own, and none of rows.
const KUBELET_S: &str = "kubernetes.io/config";

/// What is said; empty where nothing is, or where it is not wanted.
#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    /// The API's uid, or what the directory bears.
    pub uid: &'a str,
    /// Names and values.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Names and values.
    pub annotations: Vec<(&'a str, &'a str)>,
    /// The parts of the image's reference that are wanted.
    pub image: Image,
    /// Host and path of the image, if both are wanted.
    pub repository: String,
    /// What the runtime made of the image, as it says, if its digest is wanted.
    pub image_id: &'a str,
    /// What the pod belongs to.
    pub workload: Option<&'a Workload>,
}

impl<'a> Metadata<'a> {
    /// What is said of a chain.
    pub(crate) fn of(chain: &'a ChainMeta, wanted: MetadataFields) -> Metadata<'a> {
        let mut metadata = Metadata {
            uid: &chain.key.pod_uid,
            ..Metadata::default()
        };
        let Some(info) = chain.pod_state.info() else {
            metadata.keep(wanted);
            return metadata;
        };
        if !info.uid.is_empty() {
            metadata.uid = &info.uid;
        }
        metadata.workload = info.workload.as_ref();
        let pairs = |(name, value): (&'a String, &'a String)| (name.as_str(), value.as_str());
        metadata.labels = info.labels.iter().map(pairs).collect();
        let annotations = info.annotations.iter().map(pairs);
        let annotations = annotations.filter(|(name, _)| !name.contains(KUBELET_S));
        metadata.annotations = annotations.collect();
        if let Some(container) = info.container(&chain.key.container) {
            metadata.image = Image::of(&container.image).pulled(&container.image_id);
            metadata.repository = metadata.image.repository();
            metadata.image_id = &container.image_id;
        }
        metadata.keep(wanted);
        metadata
    }

    /// Drops what is not wanted.
    fn keep(&mut self, wanted: MetadataFields) {
        let has = |name| wanted.has(name);
        if !has("podUid") {
            self.uid = "";
        }
        if !has("podLabels") {
            self.labels.clear();
        }
        if !has("podAnnotations") {
            self.annotations.clear();
        }
        if !has("imageID") {
            self.image.digest.clear();
            self.image_id = "";
        }
        if !(has("image") && has("imageRepo")) {
            self.repository.clear();
        }
        for (field, part) in [
            ("image", &mut self.image.name),
            ("imageRepo", &mut self.image.repo),
            ("imageTag", &mut self.image.tag),
        ] {
            if !has(field) {
                part.clear();
            }
        }
    }
}

/// The attribute of OpenTelemetry's conventions that names a workload of this kind.
pub(crate) fn workload_attribute(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Deployment" => "k8s.deployment.name",
        "StatefulSet" => "k8s.statefulset.name",
        "DaemonSet" => "k8s.daemonset.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "Job" => "k8s.job.name",
        "CronJob" => "k8s.cronjob.name",
        _ => return None,
    })
}
