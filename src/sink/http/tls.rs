//! Trust and identity: PEM files to a rustls client configuration, and whether the files are still the same.

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Mistake;
use super::stamp::{Stamp, read_small};
use crate::config::Tls;

/// Larger PEM files are refused; a bundle of all public authorities is about a quarter of it.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// The stamps of the CA, certificate and key file.
pub type Stamps = [Option<Stamp>; 3];

/// The stamps as they are now.
pub fn stamps(tls: &Tls) -> Stamps {
    [&tls.ca_file, &tls.certificate_file, &tls.key_file]
        .map(|path| path.as_deref().and_then(Stamp::of))
}

/// Checks what can be checked without reading a file.
pub fn check(tls: &Tls, https: bool) -> Result<(), Mistake> {
    let Tls {
        ca_file,
        certificate_file,
        key_file,
    } = tls;
    match (certificate_file, key_file) {
        (Some(_), None) => {
            let problem = "the certificate needs its key; set it, or leave certificate_file out";
            return Err(Mistake::new("tls.key_file", problem));
        }
        (None, Some(_)) => {
            let problem = "the key needs its certificate; set it, or leave key_file out";
            return Err(Mistake::new("tls.certificate_file", problem));
        }
        _ => {}
    }
    if !https && (ca_file.is_some() || certificate_file.is_some()) {
        let problem = "has no effect on an http:// url; use https://, or leave it out";
        return Err(Mistake::new("tls", problem));
    }
    Ok(())
}

/// Reads all files. An error says which file and what is wrong with it.
pub fn load(tls: &Tls) -> Result<ClientConfig, String> {
    let builder = builder()?;
    let builder = match &tls.ca_file {
        None => builder
            .with_native_roots()
            .map_err(|error| format!("cannot load the system's trusted roots: {error}"))?,
        Some(path) => builder.with_root_certificates(roots(path)?),
    };
    match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate_file), Some(key_file)) => {
            let chain = certificates(certificate_file)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
                .map_err(|error| format!("no private key in {}: {error}", key_file.display()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                format!(
                    "cannot use the certificate of {} with the key of {}: {error}",
                    certificate_file.display(),
                    key_file.display()
                )
            })
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// A configuration that trusts nobody, for connections without TLS.
pub fn none() -> Result<ClientConfig, String> {
    Ok(builder()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// A configuration that trusts whoever answers: for servers on the own node that sign their own certificates.
pub fn anyone() -> Result<ClientConfig, String> {
    let mut config = none()?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anyone(algorithms)));
    Ok(config)
}

/// Takes any certificate whose key the server has.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    let provider = rustls::crypto::ring::default_provider();
    ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    match read_small(path, PEM_BYTES_MAX) {
        Ok((_, content)) => Ok(content),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("bad PEM in {}: {error}", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("no certificate in {}", path.display()));
    }
    Ok(certificates)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Bundles hold old certificates that no verifier takes any more; one good one is enough.
    let (added, _ignored) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(format!("no usable certificate in {}", path.display()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(ca: bool, certificate: bool, key: bool) -> Tls {
        let path = |set: bool| set.then(|| "/nowhere/x.pem".into());
        Tls {
            ca_file: path(ca),
            certificate_file: path(certificate),
            key_file: path(key),
        }
    }

    #[test]
    fn a_certificate_and_its_key_go_together_and_with_https() {
        assert_eq!(check(&tls(false, false, false), false), Ok(()));
        assert_eq!(check(&tls(true, true, true), true), Ok(()));
        let setting = |tls: &Tls, https| check(tls, https).unwrap_err().setting;
        assert_eq!(setting(&tls(false, true, false), true), "tls.key_file");
        assert_eq!(
            setting(&tls(false, false, true), true),
            "tls.certificate_file"
        );
        assert_eq!(setting(&tls(true, false, false), false), "tls");
    }

    #[test]
    fn files_that_hold_nothing_of_use_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let load = || {
            load(&Tls {
                ca_file: Some(path.clone()),
                ..Tls::default()
            })
            .unwrap_err()
        };
        assert!(load().contains("ca.pem"), "{}", load());
        std::fs::write(&path, "not PEM at all").unwrap();
        assert!(load().contains("no certificate in"), "{}", load());
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, junk).unwrap();
        assert!(load().contains("no usable certificate"), "{}", load());
        std::fs::write(&path, vec![b'#'; PEM_BYTES_MAX as usize + 1]).unwrap();
        assert!(load().contains("larger than"), "{}", load());
    }
}
