use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_pod_is_cut_down_to_what_is_used() {
    let json = json!({
        "metadata": {
            "name": "web-7d4b9c-x2x4z", "namespace": "shop", "uid": "11-22",
            "labels": {"app": "web", "pod-template-hash": "7d4b9c"},
            "annotations": {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "ownerReferences": [
                {"kind": "Other", "name": "o"},
                {"kind": "ReplicaSet", "name": "web-7d4b9c", "controller": true, "apiVersion": "apps/v1"}
            ],
            "managedFields": [{}]
        },
        "spec": {
            "initContainers": [{"name": "setup", "image": "busybox"}],
            "containers": [{
                "name": "web", "image": "reg:5000/web:1",
                "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": 1}}
            }],
            "ephemeralContainers": null
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "web", "imageID": "reg:5000/web@sha256:ab", "restartCount": 2,
                "containerID": "containerd://cc",
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "OOMKilled", "containerID": "containerd://bb"}}
            }]
        }
    });
    let seen = pod(&json.to_string()).unwrap();
    let info = &seen.info;
    assert_eq!(
        (info.uid.as_str(), info.name.as_str()),
        ("11-22", "web-7d4b9c-x2x4z")
    );
    assert_eq!(info.annotations.len(), 1);
    let workload = info.workload.as_ref().unwrap();
    assert_eq!(
        (workload.kind.as_str(), workload.name.as_str()),
        ("Deployment", "web")
    );
    let web = info.container("web").unwrap();
    assert_eq!(
        (web.id_of(2), web.id_of(1), web.id_of(0), web.id_of(3)),
        ("cc", "bb", "", "")
    );
    assert_eq!(web.image, "reg:5000/web:1");
    assert_eq!(info.container("setup").unwrap().image, "busybox");
    let status = &seen.status.containers[1];
    assert_eq!(status.waiting.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(status.last_terminated.as_deref(), Some("OOMKilled"));
    assert_eq!(status.requests.get("cpu"), Some(&0.25));
    assert_eq!(status.limits.get("cpu"), Some(&1.0));
    assert_eq!(seen.config_hash, None);
}

#[test]
fn a_mirror_pod_names_its_directory() {
    let mirror = |hash: &str| {
        let annotations = json!({"kubernetes.io/config.mirror": hash});
        let meta = json!({"name": "etcd-n1", "namespace": "kube-system", "uid": "u", "annotations": annotations});
        pod(&json!({"metadata": meta}).to_string())
            .unwrap()
            .config_hash
    };
    assert_eq!(mirror("0a1b").as_deref(), Some("0a1b"));
    assert_eq!(mirror("../x"), None);
    assert_eq!(mirror("u"), None);
}

#[test]
fn a_node_is_cut_down_to_what_is_used() {
    let json = json!({
        "metadata": {"name": "n1", "labels": {"zone": "a"}},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]},
        "status": {
            "capacity": {"cpu": "4", "nvidia.com/gpu": "2", "odd": "?"},
            "allocatable": {"memory": "1Gi"},
            "conditions": [{"type": "Ready", "status": "True"}]
        }
    });
    let node = node(&json.to_string()).unwrap();
    assert_eq!(node.pod_cidrs, ["10.1.0.0/24", "fd00::/64"]);
    assert_eq!(node.capacity.get("nvidia.com/gpu"), Some(&2.0));
    assert_eq!(node.capacity.get("odd"), None);
    assert_eq!(node.conditions, [("Ready".to_owned(), "True".to_owned())]);
}

proptest! {
    /// No text, and no object with strange members, stops a reader.
    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        let _ = (pod(&text), node(&text), namespace(&text), uid(&text));
        let odd = format!("{{\"metadata\": {{\"name\": \"a\", \"uid\": {text:?}, \"labels\": {text:?}}}}}");
        let _ = (pod(&odd), node(&odd), namespace(&odd), uid(&odd));
    }
}
