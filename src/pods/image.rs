//! References of images, taken apart as registries do (the grammar of `distribution/reference`):
//! `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

/// Where an image without a host comes from.
const HUB: &str = "docker.io";
/// Where an image without a path lies there.
const LIBRARY: &str = "library/";

/// A reference taken apart. Empty: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The registry's host, with its port.
    pub repo: String,
    /// The path in the registry.
    pub name: String,
    /// The tag; `latest` if neither a tag nor a digest is said.
    pub tag: String,
    /// The digest, with its algorithm.
    pub digest: String,
}

impl Image {
    /// Takes a reference apart. Whatever it is, there is an answer: what is no reference is a name.
    pub fn of(reference: &str) -> Image {
        if reference.is_empty() {
            return Image::default();
        }
        let (named, digest) = reference.split_once('@').unwrap_or((reference, ""));
        // A colon before the last slash is a port's.
        let path_at = named.rfind('/').map_or(0, |at| at + 1);
        let (path, last) = named.split_at_checked(path_at).unwrap_or(("", named));
        let (last, tag) = last.split_once(':').unwrap_or((last, ""));
        let whole = format!("{path}{last}");
        let (repo, name) = match whole.split_once('/') {
            Some((host, name)) if is_host(host) => (host.to_owned(), name.to_owned()),
            Some(_) => (HUB.to_owned(), whole),
            None => (HUB.to_owned(), format!("{LIBRARY}{whole}")),
        };
        let tag = if tag.is_empty() && digest.is_empty() {
            "latest"
        } else {
            tag
        };
        Image {
            repo,
            name,
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        }
    }

    /// The same, with the digest of what the runtime has made of it: the `imageID` of a container's status, which is
    /// `[docker-pullable://]NAME@DIGEST`, or a digest alone.
    #[must_use]
    pub fn pulled(mut self, image_id: &str) -> Image {
        let id = image_id.split_once("://").map_or(image_id, |(_, id)| id);
        let digest = id.split_once('@').map_or(id, |(_, digest)| digest);
        if digest.contains(':') && !digest.contains('/') {
            digest.clone_into(&mut self.digest);
        }
        self
    }

    /// Host and path.
    pub fn repository(&self) -> String {
        match self.repo.is_empty() {
            true => String::new(),
            false => format!("{}/{}", self.repo, self.name),
        }
    }
}

/// A first part with a dot or a port is a host; so is `localhost`, and what no path may be: with capitals.
fn is_host(part: &str) -> bool {
    part == "localhost"
        || part.contains(['.', ':'])
        || part.contains(|char: char| char.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(reference: &str) -> [String; 4] {
        let image = Image::of(reference);
        [image.repo, image.name, image.tag, image.digest]
    }

    #[test]
    fn references_are_taken_apart() {
        for (reference, want) in [
            ("nginx", ["docker.io", "library/nginx", "latest", ""]),
            ("nginx:1.27", ["docker.io", "library/nginx", "1.27", ""]),
            (
                "bitnami/redis",
                ["docker.io", "bitnami/redis", "latest", ""],
            ),
            ("reg:5000/a/b:1", ["reg:5000", "a/b", "1", ""]),
            ("reg:5000/a/b", ["reg:5000", "a/b", "latest", ""]),
            ("localhost/x:dev", ["localhost", "x", "dev", ""]),
            ("[fd00::1]:5000/a:1", ["[fd00::1]:5000", "a", "1", ""]),
            (
                "mcr.microsoft.com/azuremonitor/x:v1@sha256:ab",
                ["mcr.microsoft.com", "azuremonitor/x", "v1", "sha256:ab"],
            ),
            ("ghcr.io/a/b@sha256:cd", ["ghcr.io", "a/b", "", "sha256:cd"]),
            ("", ["", "", "", ""]),
        ] {
            assert_eq!(parts(reference), want, "{reference}");
        }
    }

    #[test]
    fn what_was_pulled_has_the_last_word_on_the_digest() {
        let digest = |id: &str| Image::of("a.b/c@sha256:old").pulled(id).digest;
        assert_eq!(digest("a.b/c@sha256:new"), "sha256:new");
        assert_eq!(digest("docker-pullable://a.b/c@sha256:new"), "sha256:new");
        assert_eq!(digest("sha256:new"), "sha256:new");
        assert_eq!(digest(""), "sha256:old");
        assert_eq!(digest("a.b:5000/c"), "sha256:old");
    }

    proptest! {
        /// Whatever the text, it is taken apart, and of a good reference nothing is lost.
        #[test]
        fn nothing_is_lost(
            text in "\\PC{0,40}",
            host in "[a-z]{1,8}(\\.[a-z]{1,8}|:[0-9]{1,5})",
            path in "[a-z]{1,8}(/[a-z]{1,8}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}",
            digest in "sha256:[0-9a-f]{8}",
        ) {
            let _any = Image::of(&text).pulled(&text);
            let whole = format!("{host}/{path}:{tag}@{digest}");
            let image = Image::of(&whole);
            prop_assert_eq!(format!("{}:{}@{}", image.repository(), image.tag, image.digest), whole);
        }
    }
}
