//! `azure_auth`: tokens of Microsoft Entra, for whatever makes requests to Azure Monitor. One of three identities, and
//! for which cloud.

use std::path::PathBuf;

use crate::config::Secret;
use crate::config::keys::{Key, Known, PATH_OR_NULL, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::secret::{SECRET, secret};
use crate::config::walk::Section;

use super::url_in;

/// Whose tokens, and for what.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureAuth {
    /// Where Azure is.
    pub cloud: Cloud,
    /// What the token is for; `None`: Azure Monitor of that cloud.
    pub scope: Option<String>,
    /// As whom.
    pub identity: AzureIdentity,
}

/// An Azure cloud: each has authorities and services of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// The one for everybody.
    Public,
    /// Operated by 21Vianet.
    China,
    /// Of the government of the United States.
    Government,
}

impl Cloud {
    const ALL: [(&'static str, Cloud); 3] = [
        ("public", Cloud::Public),
        ("china", Cloud::China),
        ("government", Cloud::Government),
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Cloud::Public => "public",
            Cloud::China => "china",
            Cloud::Government => "government",
        }
    }

    /// Who gives tokens.
    pub const fn authority(self) -> &'static str {
        match self {
            Cloud::Public => "https://login.microsoftonline.com",
            Cloud::China => "https://login.chinacloudapi.cn",
            Cloud::Government => "https://login.microsoftonline.us",
        }
    }

    /// The scope of Azure Monitor. The doubled slash is part of it: the resource's own name ends in one.
    pub const fn scope(self) -> &'static str {
        match self {
            Cloud::Public => "https://monitor.azure.com//.default",
            Cloud::China => "https://monitor.azure.cn//.default",
            Cloud::Government => "https://monitor.azure.us//.default",
        }
    }
}

/// Who asks for the token.
#[derive(Clone, Debug, PartialEq)]
pub enum AzureIdentity {
    /// An application with a secret.
    ClientSecret {
        /// The directory.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// Its secret.
        secret: Secret,
        /// Who gives tokens; `None`: that of the cloud.
        authority: Option<String>,
    },
    /// The identity of the machine, from its instance metadata service.
    Managed {
        /// Which one, if the machine has several.
        client_id: Option<String>,
        /// Where the service is; `None`: where every machine of Azure has it.
        endpoint: Option<String>,
    },
    /// A service account of the cluster that an application trusts. What is `None` is taken from the variables that
    /// the cluster's webhook sets.
    Workload {
        /// The directory; else `AZURE_TENANT_ID`.
        tenant_id: Option<String>,
        /// The application; else `AZURE_CLIENT_ID`.
        client_id: Option<String>,
        /// The service account's token; else `AZURE_FEDERATED_TOKEN_FILE`.
        token_file: Option<PathBuf>,
        /// Who gives tokens; else `AZURE_AUTHORITY_HOST`, else that of the cloud.
        authority: Option<String>,
    },
}

const ID: &str = "an id: a-z, A-Z, 0-9, - and ., at most 128";
const ID_OR_NULL: &str = "an id: a-z, A-Z, 0-9, - and ., at most 128; or null";
const ORIGIN_OR_NULL: &str = "http://HOST[:PORT] or https://..., without a path, or null";

static KEYS: [Key; 5] = [
    key("cloud", "public, china or government"),
    key(
        "scope",
        "a text that ends in /.default, without spaces, at most 256 characters, or null",
    ),
    key("client_secret", "a mapping"),
    key("managed_identity", "a mapping"),
    key("workload_identity", "a mapping"),
];

static CLIENT_SECRET: [Key; 4] = [
    key("tenant_id", ID),
    key("client_id", ID),
    key("secret", SECRET),
    key("authority", ORIGIN_OR_NULL),
];

static MANAGED: [Key; 2] = [
    key("client_id", ID_OR_NULL),
    key("endpoint", ORIGIN_OR_NULL),
];

static WORKLOAD: [Key; 4] = [
    key("tenant_id", ID_OR_NULL),
    key("client_id", ID_OR_NULL),
    key("token_file", PATH_OR_NULL),
    key("authority", ORIGIN_OR_NULL),
];

/// The keys of the mapping and of those under it.
pub(super) fn places() -> [(&'static str, Known); 4] {
    [
        ("sinks.NAME.azure_auth", Known::of(&KEYS)),
        (
            "sinks.NAME.azure_auth.client_secret",
            Known::of(&CLIENT_SECRET),
        ),
        (
            "sinks.NAME.azure_auth.managed_identity",
            Known::of(&MANAGED),
        ),
        (
            "sinks.NAME.azure_auth.workload_identity",
            Known::of(&WORKLOAD),
        ),
    ]
}

/// Reads one kind of identity.
type Reader = fn(&Section<'_>, &mut Report) -> Option<AzureIdentity>;

/// The mapping `azure_auth` of `section`, if it is there and good.
pub(super) fn check(section: &Section<'_>, report: &mut Report) -> Option<AzureAuth> {
    let inner = section.section("azure_auth", Known::of(&KEYS), report)?;
    let cloud = inner.choice("cloud", &Cloud::ALL, report);
    let scope = scope(&inner, report);
    let identities: [(&str, Reader); 3] = [
        ("client_secret", client_secret),
        ("managed_identity", managed),
        ("workload_identity", workload),
    ];
    let given: Vec<_> = identities
        .into_iter()
        .filter(|(name, _)| inner.entry(name).is_some())
        .collect();
    let [(_, read)] = given.as_slice() else {
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let found = match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(" and "),
        };
        let text = format!(
            "found {found}; needed is one of client_secret, managed_identity and workload_identity"
        );
        report.add(inner.place, &inner.path, text);
        return None;
    };
    Some(AzureAuth {
        cloud: cloud.unwrap_or(Cloud::Public),
        scope,
        identity: read(&inner, report)?,
    })
}

fn scope(section: &Section<'_>, report: &mut Report) -> Option<String> {
    let field = section.field("scope").filter(|field| !field.is_null())?;
    let fits = |text: &&str| {
        text.ends_with("/.default")
            && text.len() <= 256
            && text.chars().all(|c| c.is_ascii_graphic())
    };
    match field.text().filter(fits) {
        Some(text) => Some(text.to_owned()),
        None => field.wrong(report),
    }
}

fn client_secret(section: &Section<'_>, report: &mut Report) -> Option<AzureIdentity> {
    let inner = section.section("client_secret", Known::of(&CLIENT_SECRET), report)?;
    for key in ["tenant_id", "client_id", "secret"] {
        if inner.entry(key).is_none() {
            inner.missing(key, report);
        }
    }
    let tenant_id = id(&inner, "tenant_id", false, report);
    let client_id = id(&inner, "client_id", false, report);
    let authority = origin(&inner, "authority", report);
    let value = inner.field("secret");
    let value = value.and_then(|field| secret(&field, report));
    Some(AzureIdentity::ClientSecret {
        tenant_id: tenant_id?,
        client_id: client_id?,
        secret: value?,
        authority,
    })
}

fn managed(section: &Section<'_>, report: &mut Report) -> Option<AzureIdentity> {
    let inner = section.section("managed_identity", Known::of(&MANAGED), report)?;
    Some(AzureIdentity::Managed {
        client_id: id(&inner, "client_id", true, report),
        endpoint: origin(&inner, "endpoint", report),
    })
}

fn workload(section: &Section<'_>, report: &mut Report) -> Option<AzureIdentity> {
    let inner = section.section("workload_identity", Known::of(&WORKLOAD), report)?;
    Some(AzureIdentity::Workload {
        tenant_id: id(&inner, "tenant_id", true, report),
        client_id: id(&inner, "client_id", true, report),
        token_file: inner.path_or_null("token_file", report),
        authority: origin(&inner, "authority", report),
    })
}

/// Ids are parts of paths and forms; a directory may be given by a domain of its.
pub fn is_id(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (1..=128).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.')
}

fn id(section: &Section<'_>, key: &str, may_be_null: bool, report: &mut Report) -> Option<String> {
    let field = section.field(key)?;
    if may_be_null && field.is_null() {
        return None;
    }
    match field.text().filter(|text| is_id(text)) {
        Some(text) => Some(text.to_owned()),
        None => field.wrong(report),
    }
}

/// Scheme and host of a URL that is nothing more.
pub fn is_origin(text: &str) -> bool {
    let uri: Result<hyper::Uri, _> = text.parse();
    uri.is_ok_and(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none())
}

/// A URL of a host and no more; without the slash behind it.
pub(in crate::config) fn origin(
    section: &Section<'_>,
    key: &str,
    report: &mut Report,
) -> Option<String> {
    let field = section.field(key).filter(|field| !field.is_null())?;
    let url = url_in(&field, report)?;
    if !is_origin(&url) {
        return field.wrong_hidden(report);
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// Writes it out.
pub(super) fn render(auth: &AzureAuth, page: &mut Page) {
    page.open("azure_auth");
    page.raw("cloud", auth.cloud.name());
    page.scalar_or_null("scope", auth.scope.as_deref());
    match &auth.identity {
        AzureIdentity::ClientSecret {
            tenant_id,
            client_id,
            secret,
            authority,
        } => {
            page.open("client_secret");
            page.scalar("tenant_id", tenant_id);
            page.scalar("client_id", client_id);
            page.secret("secret", secret);
            page.scalar_or_null("authority", authority.as_deref());
        }
        AzureIdentity::Managed {
            client_id,
            endpoint,
        } => {
            page.open("managed_identity");
            page.scalar_or_null("client_id", client_id.as_deref());
            page.scalar_or_null("endpoint", endpoint.as_deref());
        }
        AzureIdentity::Workload {
            tenant_id,
            client_id,
            token_file,
            authority,
        } => {
            page.open("workload_identity");
            page.scalar_or_null("tenant_id", tenant_id.as_deref());
            page.scalar_or_null("client_id", client_id.as_deref());
            let file = token_file.as_ref().map(|file| file.to_string_lossy());
            page.scalar_or_null("token_file", file.as_deref());
            page.scalar_or_null("authority", authority.as_deref());
        }
    }
    page.close();
    page.close();
}
