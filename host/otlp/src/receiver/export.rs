//! The way of a request between its headers and its answer, which is the same in every protocol:
//! credentials, the bytes within their limits, the pipeline, counters and the log.

mod room;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_wire::{Findings, InvalidUtf8, Limits, Signal, json};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tracing::{debug, warn};

pub(crate) use self::room::Room;
use super::front::{ConnectionId, Lease, LogLimit, Shutdown};
use super::request::{self, Framing, RequestBody};
use super::settings::MAX_JSON_GROWTH;
use super::stats::ReceiverStats;
use crate::auth::Authenticator;
use crate::compression::Compression;
use crate::status::{self, RequestError};

/// The time that the bytes of a request that is not read may take to arrive, and their largest
/// number: as many as a client may have sent before it can know. The receiver waits for them,
/// because streams that end too early are thrown away by the client, or count as its mistakes, and
/// many of either end the connection.
const DISCARD_LIMIT: Duration = Duration::from_secs(2);
const DISCARD_BYTES: usize = 4 << 20;

/// The time that they may take once the receiver is stopping, so that the answer arrives inside the
/// five seconds that an application has for its last flush.
pub(crate) const READ_LIMIT_DRAINING: Duration = Duration::from_secs(2);

/// The form of a request, as its headers say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestForm {
    pub(crate) signal: Signal,
    pub(crate) framing: Framing,
    pub(crate) compression: Compression,
    /// The handling of texts that are not UTF-8 if the request is JSON; `None` for protobuf.
    pub(crate) json: Option<InvalidUtf8>,
}

/// The settings that a request needs on its way.
#[derive(Debug)]
pub(crate) struct ExportSettings {
    /// The longest request in bytes, on the wire and inflated.
    pub(crate) longest: usize,
    /// The time that the bytes of a request may take to arrive.
    pub(crate) read_limit: Duration,
    /// The credentials that requests must carry.
    pub(crate) auth: Option<Authenticator>,
    /// The address on which the receiver listens.
    pub(crate) endpoint: SocketAddr,
}

/// Takes the exports that come to one port.
#[derive(Debug)]
pub(crate) struct Exports {
    settings: ExportSettings,
    ingress: Arc<dyn Ingress>,
    room: Arc<Room>,
    shutdown: Shutdown,
    stats: Arc<ReceiverStats>,
    log_limits: LogLimits,
}

/// Decides when the log gets a line about an answer to a sender.
#[derive(Debug, Default)]
struct LogLimits {
    /// A request is refused for good.
    requests: LogLimit,
    /// Items of a request are refused for good.
    items: LogLimit,
    /// Something was replaced in a text.
    texts: LogLimit,
}

impl Exports {
    pub(crate) fn new(
        settings: ExportSettings,
        ingress: Arc<dyn Ingress>,
        room: Arc<Room>,
        shutdown: Shutdown,
        stats: Arc<ReceiverStats>,
    ) -> Self {
        Self {
            settings,
            ingress,
            room,
            shutdown,
            stats,
            log_limits: LogLimits::default(),
        }
    }

    /// Returns the way into the pipelines.
    pub(crate) fn ingress(&self) -> &dyn Ingress {
        self.ingress.as_ref()
    }

    /// Returns the steps that the receiver has taken towards its end.
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Returns the counters of the port.
    #[cfg(test)]
    pub(crate) fn stats(&self) -> &ReceiverStats {
        &self.stats
    }

    /// Checks the credentials of a request. This must come first, so that strangers learn nothing
    /// and nothing of theirs is kept.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<(), Status> {
        match &self.settings.auth {
            Some(auth) => auth.admit(headers).await.map_err(status::denied),
            None => Ok(()),
        }
    }

    /// Returns the kind of credentials that requests must carry, as `www-authenticate` names it.
    pub(crate) fn challenge(&self) -> Option<&'static str> {
        self.settings.auth.as_ref().map(Authenticator::challenge)
    }

    /// Reads a request and offers it to the pipelines.
    pub(crate) async fn take<B: RequestBody>(
        &self,
        form: RequestForm,
        body: &mut B,
        connection: ConnectionId,
    ) -> Result<Acceptance, Status> {
        let signal = form.signal;
        if self.shutdown.is_draining() {
            return Err(status::request_error(&RequestError::Draining, None));
        }
        let mut lease = self.room.budget.lease(connection);
        let bytes = self.read(form, body, &mut lease).await?;
        let (bytes, replaced) = match form.json {
            None => (bytes, Findings::default()),
            Some(invalid_utf8) => {
                // On the heap: each open request would have the room for it otherwise.
                Box::pin(self.transcode(signal, bytes, invalid_utf8, &mut lease)).await?
            }
        };
        let slots = self.ingress.concurrency_limit(signal);
        let slot = self.room.admission.acquire(signal, connection, slots).await;
        let slot = slot.map_err(|why| self.request_error(&why, signal))?;
        let offered = self.ingress.offer(signal, bytes).await;
        drop((slot, lease));
        let mut accepted = offered.map_err(|why| status::refused(&why))?;
        if !replaced.is_empty() {
            // JSON has only text, so there is nothing left to replace behind it.
            accepted.replaced = replaced;
        }
        Ok(accepted)
    }

    async fn read<B: RequestBody>(
        &self,
        form: RequestForm,
        body: &mut B,
        lease: &mut Lease,
    ) -> Result<Bytes, Status> {
        let (limits, stats) = (&self.settings, &self.stats);
        let (framing, compression) = (form.framing, form.compression);
        let read = request::read(body, framing, compression, limits.longest, lease, stats);
        let bytes = tokio::select! {
            read = timeout(limits.read_limit, read) => read.unwrap_or(Err(RequestError::Slow)),
            () = self.draining_for(READ_LIMIT_DRAINING) => Err(RequestError::Draining),
        };
        bytes.map_err(|why| self.request_error(&why, form.signal))
    }

    /// Returns a request in JSON as the message that it stands for, and the texts in it that were
    /// replaced.
    async fn transcode(
        &self,
        signal: Signal,
        text: Bytes,
        invalid_utf8: InvalidUtf8,
        lease: &mut Lease,
    ) -> Result<(Bytes, Findings), Status> {
        let all = text.len().saturating_mul(1 + MAX_JSON_GROWTH);
        let leased = lease.grow_to(all).await;
        leased.map_err(|why| self.request_error(&why, signal))?;
        // Telemetry is shorter than its text.
        let mut message = Vec::with_capacity(text.len() / 2);
        let limits = Limits::default();
        let replaced = json::to_protobuf(signal, &text, &limits, invalid_utf8, &mut message);
        let replaced = replaced.map_err(|why| status::invalid(&why.to_string()))?;
        drop(text);
        message.shrink_to_fit();
        lease.shrink_to(message.len());
        Ok((message.into(), replaced))
    }

    /// Counts a request that was accepted, and logs what is wrong with its items.
    pub(crate) fn accepted(&self, accepted: &Acceptance, peer: SocketAddr) {
        self.stats.count_answer(Code::Ok);
        if !accepted.refused.is_empty() || !accepted.replaced.is_empty() {
            self.log_items(accepted, peer);
        }
    }

    /// Counts a request that was refused, and logs why. Waits for the rest of it for a while.
    /// `body` is `None` if nothing more will come. Returns true if all of it has come.
    pub(crate) async fn refused<B: RequestBody>(
        &self,
        status: &Status,
        body: Option<B>,
        peer: SocketAddr,
    ) -> bool {
        self.log_refusal(status, peer);
        self.stats.count_answer(status.code());
        // A sender that was too slow, or that has little time, is not waited for again.
        let is_late = status.code() == Code::DeadlineExceeded;
        match body {
            Some(body) if body.is_end_stream() => true,
            Some(body) if !is_late && !self.shutdown.is_draining() => self.discard(body).await,
            _ => false,
        }
    }

    /// Waits for a body for a while. Returns true if all of it has come.
    pub(crate) async fn discard<B: RequestBody>(&self, body: B) -> bool {
        let rest = request::discard(body, DISCARD_BYTES);
        timeout(DISCARD_LIMIT, rest).await.unwrap_or(false)
    }

    /// Logs what is wrong with a sender's items, because the operator may never look at the
    /// sender's log.
    #[cold]
    fn log_items(&self, accepted: &Acceptance, peer: SocketAddr) {
        let endpoint = self.settings.endpoint;
        let (refused, replaced) = (&accepted.refused, &accepted.replaced);
        if !refused.is_empty()
            && let Some(repeated) = self.log_limits.items.due()
        {
            let items = refused.count;
            warn!(%endpoint, %peer, items, why = %refused, repeated, "invalid items refused");
        }
        if !replaced.is_empty()
            && let Some(repeated) = self.log_limits.texts.due()
        {
            let texts = replaced.count;
            warn!(%endpoint, %peer, texts, place = %replaced, repeated, "text that is not UTF-8 replaced");
        }
    }

    fn log_refusal(&self, status: &Status, peer: SocketAddr) {
        let (endpoint, code, error) = (self.settings.endpoint, status.code(), status.message());
        debug!(%peer, reason = ?code, error, "request refused");
        let for_good = matches!(
            code,
            Code::InvalidArgument | Code::ResourceExhausted | Code::Unimplemented
        );
        if for_good && let Some(repeated) = self.log_limits.requests.due() {
            warn!(%endpoint, %peer, reason = ?code, error, repeated, "request refused for good");
        }
    }

    fn request_error(&self, why: &RequestError, signal: Signal) -> Status {
        let is_full = matches!(why, RequestError::Busy | RequestError::Crowded);
        status::request_error(why, is_full.then(|| self.ingress.turned_away(signal)))
    }

    async fn draining_for(&self, time: Duration) {
        self.shutdown.draining().await;
        sleep(time).await;
    }
}
