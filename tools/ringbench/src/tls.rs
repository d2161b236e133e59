//! TLS settings of both ends (rustls): what a client trusts and resumes, and a server's self-signed certificate.
//!
//! Called by the command line, the load workers and the servers. No I/O but reading and making certificates.

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier, verify_server_name,
};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tickets kept for later resumption, per worker; the oldest goes first.
const TICKETS_MAX: usize = 8192;
/// Where Debian and its relatives keep the certificates that the system trusts.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Which protocol versions a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum Version {
    /// TLS 1.3, and 1.2 for servers that know nothing newer.
    #[default]
    #[value(name = "any")]
    #[serde(rename = "any")]
    Any,
    /// TLS 1.2 only.
    #[value(name = "1.2")]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 only.
    #[value(name = "1.3")]
    #[serde(rename = "1.3")]
    V1_3,
}

const ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl Version {
    fn offered(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Any => rustls::ALL_VERSIONS,
            Self::V1_2 => ONLY_1_2,
            Self::V1_3 => ONLY_1_3,
        }
    }
}

/// Whose certificates a client accepts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those signed by the certificates of a PEM file, and these certificates themselves, as self-signed ones often are.
    File(PathBuf),
    /// Those that the system trusts.
    System,
    /// Anybody's: the certificate is not looked at, the signatures of the handshake still are.
    Anyone,
}

/// A client's settings, shared by its connections.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    version: Version,
    /// Present when sessions are resumed.
    tickets: Option<Arc<TicketStore>>,
}

impl TlsClient {
    /// Settings for one server name, which is also what is asked for in the handshake (SNI). With `resume` later connections offer the
    /// tickets of earlier ones; without it every handshake is a full one. `alpn` is the protocol offered, if any.
    ///
    /// # Errors
    /// When the name is none, or the trusted certificates cannot be read.
    pub fn new(name: &str, trust: &Trust, version: Version, resume: bool, alpn: Option<&str>) -> anyhow::Result<Self> {
        let server_name = ServerName::try_from(name.to_owned()).with_context(|| format!("'{name}' is not a server name"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(version.offered())?;
        let mut config = match trust {
            Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAnyone(provider))).with_no_client_auth(),
            Trust::File(path) => {
                let (roots, known) = certificates(path)?;
                let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptKnown { known, chains })).with_no_client_auth()
            }
            Trust::System => {
                let path = PathBuf::from(SYSTEM_CERTIFICATES);
                let (roots, _) = certificates(&path).context("no system certificates: use --ca FILE or --insecure")?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.into_iter().map(|name| name.as_bytes().to_vec()).collect();
        let tickets = resume.then(Arc::default);
        Ok(Self { config: Arc::new(config), server_name, version, tickets })
    }

    /// The same settings with tickets of its own: one for each worker, so that workers do not wait for each other.
    pub fn for_worker(&self) -> Self {
        let mut own = self.clone();
        if self.tickets.is_some() {
            let tickets = Arc::new(TicketStore::default());
            let mut config = ClientConfig::clone(&self.config);
            config.resumption = Resumption::store(tickets.clone());
            (own.config, own.tickets) = (Arc::new(config), Some(tickets));
        }
        own
    }

    /// True when sessions are resumed.
    pub fn resumes(&self) -> bool {
        self.tickets.is_some()
    }

    /// Versions offered.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Tickets and sessions received so far; 0 without resumption.
    pub fn tickets_received(&self) -> u64 {
        self.tickets.as_ref().map_or(0, |tickets| tickets.received.load(Ordering::Relaxed))
    }

    /// A new session.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn connect(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(self.config.clone(), self.server_name.clone())
    }
}

/// What resumption needs, in memory. One server per run, so names are not told apart.
#[derive(Debug, Default)]
struct TicketStore {
    received: AtomicU64,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    group: Option<NamedGroup>,
    session: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl TicketStore {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        // Every change is one assignment: a panic elsewhere cannot leave half of one.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for TicketStore {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.stock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.stock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.stock().session = Some(value);
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.stock().session.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.stock().session = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut stock = self.stock();
        if stock.tickets.len() == TICKETS_MAX {
            stock.tickets.pop_front();
        }
        stock.tickets.push_back(value);
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.stock().tickets.pop_front()
    }
}

/// Accepts any certificate.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts the certificates of a file and those signed by them. rustls alone takes a certificate that may sign others for no server's own,
/// which is what most tools for self-signed certificates make.
#[derive(Debug)]
struct AcceptKnown {
    known: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AcceptKnown {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.known.contains(certificate) {
            return self.chains.verify_server_cert(certificate, intermediates, name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// The usable certificates of a file: as roots of chains, and as they are.
fn certificates(path: &PathBuf) -> anyhow::Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let (mut roots, mut known) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_file_iter(path).with_context(|| format!("cannot read {}", path.display()))? {
        let certificate = certificate.with_context(|| format!("{} is not a PEM file", path.display()))?;
        // The system's collection may hold one that rustls does not accept; the others are still good.
        if roots.add(certificate.clone()).is_ok() {
            known.push(certificate);
        }
    }
    if known.is_empty() {
        bail!("{} holds no usable certificate", path.display());
    }
    Ok((roots, known))
}

/// A server's settings with a self-signed certificate (ECDSA P-256), shared by its connections. Sessions are resumable with tickets.
#[derive(Clone, Debug)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    certificate_pem: String,
}

impl TlsServer {
    /// Makes a certificate for these names and addresses.
    ///
    /// # Errors
    /// When a name is none.
    pub fn self_signed(names: &[String]) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self { config: Arc::new(config), certificate_pem: made.cert.pem() })
    }

    /// The certificate, for a client's `--ca`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A new session.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(self.config.clone())
    }
}
