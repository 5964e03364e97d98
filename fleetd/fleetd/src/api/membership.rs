//! `join`: tokens, certificates for machines that want in, the next ones for those that are in; and
//! the removal of machines.
//!
//! Only a machine that holds the authority's key signs; any other passes a wish to join on to one that
//! does, so that a joiner need know only one member.

use bytes::Bytes;
use fleet_join::{
    AuthorityReply, CertificateRole, Invitation, InviteReply, InviteRequest, Issued, JoinReply, JoinRequest,
    JoinToken, Member, MemberPage, MemberRole, PkiError, RenewRequest, RotateRequest, Secret, TokenRecord,
    TokenRefusal, TokenReply, digest_of,
};
use fleet_registry::RegistryError;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;

use super::peer::{self, Question};
use super::reply::{Reply, empty, error, error_of, json, with_body};
use super::{Api, Role, query, store_error};
use crate::signer::Signer;

const LONGEST_BODY: usize = 64 * 1024;
const MOST_NAMES: usize = 64;
/// How often a token is written against others that write the same.
const TRIES: u32 = 4;
/// Every machine may call itself so.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why something was refused: the status, and a sentence.
type Refused = Box<Reply>;

fn refused(code: StatusCode, message: &str) -> Refused {
    Box::new(error(code, message))
}

fn random<const N: usize>() -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "the kernel gives no random bytes"))?;
    Ok(bytes)
}

fn of_store(failure: &RegistryError) -> Refused {
    Box::new(store_error(failure))
}

impl Api {
    pub(super) async fn join_resource(
        &self,
        item: Option<&str>,
        role: &Role,
        request: Request<Incoming>,
    ) -> Reply {
        let method = request.method().clone();
        let outcome = match (&method, item) {
            (&Method::GET, Some("authority")) => self.show_authority(),
            (&Method::POST, None) => self.let_in(request).await,
            (&Method::POST, Some("renew")) => self.renew(role, request).await,
            (&Method::GET, Some("tokens")) => self.show_tokens(None).await,
            (&Method::POST, Some("tokens/worker/rotate")) => self.rotate(MemberRole::Worker, request).await,
            (&Method::POST, Some("tokens/manager/rotate")) => self.rotate(MemberRole::Manager, request).await,
            (&Method::POST, Some("invitations")) => self.invite(request).await,
            (&Method::GET, Some("members")) => self.show_members().await,
            (_, None | Some("authority" | "renew" | "tokens" | "invitations" | "members")) => {
                Err(refused(StatusCode::METHOD_NOT_ALLOWED, "method not supported against this resource"))
            }
            _ => Err(refused(StatusCode::NOT_FOUND, "")),
        };
        outcome.unwrap_or_else(|refused| *refused)
    }

    fn show_authority(&self) -> Result<Reply, Refused> {
        let authority = self.signer().authority_certificate().ok_or_else(|| {
            refused(StatusCode::NOT_FOUND, "this machine has no cluster authority: set tls_ca_file")
        })?;
        Ok(json(&AuthorityReply { authority }))
    }

    async fn let_in(&self, request: Request<Incoming>) -> Result<Reply, Refused> {
        let passed_on = request.headers().contains_key(peer::PASSED_ON);
        let body = body_of(request).await?;
        let wish: JoinRequest = understood(&body)?;
        let token: JoinToken =
            wish.token.parse().map_err(|error| refused(StatusCode::BAD_REQUEST, &format!("{error}")))?;
        let signer = self.signer();
        let ours = signer.authority_certificate();
        if ours.is_none_or(|certificate| digest_of(&certificate) != token.authority) {
            return Err(refused(StatusCode::FORBIDDEN, &TokenRefusal::OtherCluster.to_string()));
        }
        if !signer.signs() {
            return if passed_on {
                Err(not_a_signer(&[]))
            } else {
                self.pass_to_signer("/fleet/v1/join", body).await
            };
        }
        check_id(&wish.machine_id)?;
        if let Some((invitation, revision)) =
            self.registry.invitation(&token.secret).await.map_err(|it| of_store(&it))?
        {
            return self.let_in_invited(&signer, &token.secret, invitation, revision, wish).await;
        }
        let role = self.role_of_token(&token).await?;
        if self.registry.is_alive(&wish.machine_id).await.map_err(|it| of_store(&it))? {
            let id = &wish.machine_id;
            let message = format!(
                "machine {id} is a member and alive; `fleetctl remove --force {id}` makes room for another"
            );
            return Err(refused(StatusCode::CONFLICT, &message));
        }
        let reply = self.sign(&signer, &wish.machine_id, role, wish.names, &wish.request, true).await?;
        tracing::info!(machine = %wish.machine_id, %role, "machine joined");
        Ok(json(&reply))
    }

    /// A machine that was meant, whether its former self is alive or not: it boots anew.
    async fn let_in_invited(
        &self,
        signer: &Signer,
        secret: &Secret,
        invitation: Invitation,
        revision: i64,
        wish: JoinRequest,
    ) -> Result<Reply, Refused> {
        let id = &wish.machine_id;
        if let Err(why) = invitation.check(id, OffsetDateTime::now_utc()) {
            tracing::warn!(machine = %id, reason = %why, "a machine was not let in");
            return Err(refused(StatusCode::FORBIDDEN, &why.to_string()));
        }
        let (role, names) = (invitation.role, invitation.names);
        // Used up before the certificate leaves this machine: of two that show it, one gets in.
        if !self.registry.use_invitation(secret, revision).await.map_err(|it| of_store(&it))? {
            return Err(refused(StatusCode::FORBIDDEN, &TokenRefusal::Unknown.to_string()));
        }
        let reply = self.sign(signer, id, role, names, &wish.request, true).await?;
        tracing::info!(machine = %id, %role, "invited machine joined");
        Ok(json(&reply))
    }

    async fn invite(&self, request: Request<Incoming>) -> Result<Reply, Refused> {
        let wish: InviteRequest = understood(&body_of(request).await?)?;
        check_id(&wish.machine_id)?;
        let authority = self.signer().authority_certificate().ok_or_else(|| not_a_signer(&[]))?;
        let now = OffsetDateTime::now_utc();
        let secret = Secret(random()?);
        let invitation = Invitation {
            machine_id: wish.machine_id,
            role: wish.role,
            names: wish.names,
            expires: now.unix_timestamp() + i64::from(wish.valid_seconds),
        };
        let invited = self.registry.invite(&secret, &invitation, now.unix_timestamp()).await;
        invited.map_err(|it| of_store(&it))?;
        tracing::info!(machine = %invitation.machine_id, role = %invitation.role, "machine invited");
        let token = JoinToken { authority: digest_of(&authority), secret };
        Ok(json(&InviteReply { token: token.to_string() }))
    }

    async fn renew(&self, role: &Role, request: Request<Incoming>) -> Result<Reply, Refused> {
        let Role::Known(CertificateRole::Machine { id, role }) = role.clone() else {
            let message = "only a machine renews its certificate, and shows its present one for that";
            return Err(refused(StatusCode::FORBIDDEN, message));
        };
        let wish: RenewRequest = understood(&body_of(request).await?)?;
        let reply = self.next_certificate(&id, role, wish).await?;
        Ok(json(&reply))
    }

    /// The next certificate of a machine that has proved who it is.
    pub(crate) async fn next_certificate(
        &self,
        id: &str,
        role: MemberRole,
        wish: RenewRequest,
    ) -> Result<JoinReply, Refused> {
        let signer = self.signer();
        if !signer.signs() {
            return Err(not_a_signer(&self.signers().await?));
        }
        let names = match wish.names {
            names if !names.is_empty() => names,
            _ => {
                let members = self.registry.members().await.map_err(|it| of_store(&it))?;
                members.into_iter().find(|it| it.machine_id == id).map(|it| it.names).unwrap_or_default()
            }
        };
        let reply = self.sign(&signer, id, role, names, &wish.request, false).await?;
        tracing::info!(machine = %id, "certificate renewed");
        Ok(reply)
    }

    async fn sign(
        &self,
        signer: &Signer,
        id: &str,
        role: MemberRole,
        mut names: Vec<String>,
        request: &str,
        again: bool,
    ) -> Result<JoinReply, Refused> {
        let authority = signer.authority().ok_or_else(|| not_a_signer(&[]))?;
        names.extend(OWN_NAMES.map(str::to_owned));
        names.sort();
        names.dedup();
        self.check_names(id, &names).await?;
        let now = OffsetDateTime::now_utc();
        let life = self.member_life;
        let certificate = authority.sign(request, id, &names, role, now, life).map_err(|failure| {
            let theirs = matches!(failure, PkiError::Request(_) | PkiError::Name(_));
            let code = if theirs { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
            Box::new(error_of(code, &failure))
        })?;
        let issued = issued(&certificate)?;
        let members = self.registry.members().await.map_err(|it| of_store(&it))?;
        let known = members.into_iter().find(|member| member.machine_id == id);
        let certificates = known.map(|known| known.certificates).unwrap_or_default();
        let member = Member { machine_id: id.to_owned(), role, names, valid_until: 0, certificates }
            .holding(issued, now.unix_timestamp());
        if !self.registry.put_member(&member, again).await.map_err(|it| of_store(&it))? {
            return Err(refused(StatusCode::FORBIDDEN, &RegistryError::Removed.to_string()));
        }
        let authority_key = (role == MemberRole::Manager).then(|| authority.pair().key.clone());
        Ok(JoinReply { authority: authority.pair().cert.clone(), certificate, role, authority_key })
    }

    /// Nobody gets a certificate in the name of another machine that is there.
    async fn check_names(&self, id: &str, names: &[String]) -> Result<(), Refused> {
        if names.len() > MOST_NAMES {
            let message = format!("{} names are too many for one machine", names.len());
            return Err(refused(StatusCode::BAD_REQUEST, &message));
        }
        let members = self.registry.members().await.map_err(|it| of_store(&it))?;
        for other in members.iter().filter(|other| other.machine_id != id) {
            let taken =
                names.iter().find(|name| other.names.contains(name) && !OWN_NAMES.contains(&name.as_str()));
            let Some(name) = taken else { continue };
            if self.registry.is_alive(&other.machine_id).await.map_err(|it| of_store(&it))? {
                let message = format!("the name {name} is machine {}'s, which is alive", other.machine_id);
                return Err(refused(StatusCode::CONFLICT, &message));
            }
        }
        Ok(())
    }

    async fn role_of_token(&self, token: &JoinToken) -> Result<MemberRole, Refused> {
        let now = OffsetDateTime::now_utc();
        let mut why = TokenRefusal::Unknown;
        for role in MemberRole::ALL {
            let (record, _) = self.registry.token(role).await.map_err(|it| of_store(&it))?;
            match record.map(|record| record.check(&token.secret, now)) {
                Some(Ok(())) => return Ok(role),
                Some(Err(refusal)) if refusal != TokenRefusal::Unknown => why = refusal,
                _ => {}
            }
        }
        tracing::warn!(reason = %why, "a machine was not let in");
        Err(refused(StatusCode::FORBIDDEN, &why.to_string()))
    }

    /// The tokens as they are; those that are missing are made, and the one of `new` in any case.
    async fn show_tokens(&self, new: Option<(MemberRole, Option<OffsetDateTime>)>) -> Result<Reply, Refused> {
        let signer = self.signer();
        let Some(authority) = signer.authority() else { return Err(not_a_signer(&self.signers().await?)) };
        let mut texts = Vec::new();
        for role in MemberRole::ALL {
            let wanted = new.filter(|(which, _)| *which == role).map(|(_, expires)| expires);
            let record = self.token_of(authority, role, wanted).await?;
            let token = record.reveal(authority, role);
            let token = token.map_err(|failure| refused(StatusCode::CONFLICT, &failure.to_string()))?;
            texts.push(token.to_string());
        }
        let [worker, manager] = texts.try_into().expect("there are two roles");
        Ok(json(&TokenReply { worker, manager }))
    }

    async fn token_of(
        &self,
        authority: &fleet_join::Authority,
        role: MemberRole,
        new: Option<Option<OffsetDateTime>>,
    ) -> Result<TokenRecord, Refused> {
        for _ in 0..TRIES {
            let (old, revision) = self.registry.token(role).await.map_err(|it| of_store(&it))?;
            let expires = match (&old, new) {
                (Some(record), None) => return Ok(record.clone()),
                (_, new) => new.flatten(),
            };
            let record = TokenRecord::create(authority, role, random()?, expires, old.as_ref());
            if self.registry.put_token(role, &record, revision).await.map_err(|it| of_store(&it))? {
                return Ok(record);
            }
        }
        Err(refused(StatusCode::CONFLICT, "others rotate the same token; try again"))
    }

    async fn rotate(&self, role: MemberRole, request: Request<Incoming>) -> Result<Reply, Refused> {
        let body = body_of(request).await?;
        let wish: RotateRequest = if body.is_empty() { RotateRequest::default() } else { understood(&body)? };
        let expires = wish
            .valid_seconds
            .map(|seconds| OffsetDateTime::now_utc() + time::Duration::seconds(seconds.into()));
        let reply = self.show_tokens(Some((role, expires))).await?;
        tracing::info!(%role, "join token rotated");
        Ok(reply)
    }

    async fn show_members(&self) -> Result<Reply, Refused> {
        let members = self.registry.members().await.map_err(|it| of_store(&it))?;
        Ok(json(&MemberPage { members }))
    }

    /// `DELETE machines/ID`, and `PUT` to let one in again that was removed and holds a new certificate.
    pub(super) async fn machine(&self, id: &str, role: &Role, request: &Request<Incoming>) -> Reply {
        let done = match *request.method() {
            Method::DELETE => self.remove(id, role, request).await,
            Method::PUT => self.forgive(id, role).await,
            _ => Err(refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "only DELETE and PUT supported against this resource",
            )),
        };
        done.unwrap_or_else(|refused| *refused)
    }

    async fn forgive(&self, id: &str, role: &Role) -> Result<Reply, Refused> {
        if *role != Role::Known(CertificateRole::Admin) {
            return Err(refused(StatusCode::FORBIDDEN, "only an administrator lets machines in again"));
        }
        check_id(id)?;
        self.registry.forgive(id).await.map_err(|it| of_store(&it))?;
        tracing::info!(machine = %id, "machine may register again");
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn remove(&self, id: &str, role: &Role, request: &Request<Incoming>) -> Result<Reply, Refused> {
        let forced = query(request, "force").pop().is_some_and(|value| value == "true" || value == "1");
        let alive = self.registry.is_alive(id).await.map_err(|it| of_store(&it))?;
        let members = self.registry.members().await.map_err(|it| of_store(&it))?;
        let known = alive || members.iter().any(|member| member.machine_id == id);
        if !known {
            return Err(refused(StatusCode::NOT_FOUND, "machine does not exist"));
        }
        if alive && !forced {
            let message = format!(
                "machine {id} is alive: run `fleetctl leave` on it, or force it out with `fleetctl remove --force {id}`"
            );
            return Err(refused(StatusCode::CONFLICT, &message));
        }
        self.registry.remove_machine(id).await.map_err(|it| of_store(&it))?;
        tracing::info!(machine = %id, by = ?role, "machine removed");
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Where the signing members serve, `IP:PORT`.
    pub(crate) async fn signers(&self) -> Result<Vec<String>, Refused> {
        let snapshot = self.registry.snapshot().await.map_err(|it| of_store(&it))?;
        let signing = snapshot.machines.into_iter().filter(|(id, it)| it.signs && *id != self.machine);
        Ok(signing.filter_map(|(_, it)| it.api.strip_prefix("https://").map(str::to_owned)).collect())
    }

    async fn pass_to_signer(&self, path: &str, body: Bytes) -> Result<Reply, Refused> {
        let Some(identity) = self.identity() else { return Err(not_a_signer(&[])) };
        let signers = self.signers().await?;
        for address in &signers {
            let asked = Question { method: Method::POST, body: body.clone(), ..Question::get(address, path) };
            match asked.ask(identity.clone()).await {
                Ok((status, body)) => return Ok(with_body(status, "application/json", body)),
                Err(failure) => {
                    tracing::warn!(%address, error = %format!("{failure:#}"), "a signing member does not answer");
                }
            }
        }
        Err(not_a_signer(&signers))
    }
}

fn issued(certificate: &str) -> Result<Issued, Refused> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok();
    der.and_then(|der| Issued::of(&der))
        .ok_or_else(|| refused(StatusCode::INTERNAL_SERVER_ERROR, "the new certificate cannot be read"))
}

fn not_a_signer(others: &[String]) -> Refused {
    let message = if others.is_empty() {
        "this machine does not hold the authority's key (authority_key_file), and no member that does answers"
            .into()
    } else {
        format!("this machine does not hold the authority's key; ask one that does: {}", others.join(", "))
    };
    refused(StatusCode::SERVICE_UNAVAILABLE, &message)
}

fn check_id(id: &str) -> Result<(), Refused> {
    let valid = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if valid {
        return Ok(());
    }
    let message = format!("machineID `{id}` is none: use up to 64 letters, digits, dots and dashes");
    Err(refused(StatusCode::BAD_REQUEST, &message))
}

async fn body_of(request: Request<Incoming>) -> Result<Bytes, Refused> {
    let read = Limited::new(request.into_body(), LONGEST_BODY).collect().await;
    let read =
        read.map_err(|failure| refused(StatusCode::BAD_REQUEST, &format!("unable to read body: {failure}")))?;
    Ok(read.to_bytes())
}

fn understood<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|failure| refused(StatusCode::BAD_REQUEST, &format!("unable to decode body: {failure}")))
}
