//! Connections of one address.
//!
//! Idle connections and slow heads take descriptors as streams do, so connections are counted per address, too: those that
//! carry a stream by the stream ([`Admission::take_stream_permit`]), all others here, each with the same limit. One connection too many may
//! still open a stream, which has a limit of its own and a refusal that an EventSource understands; anything else is
//! answered 429. Well beyond the limit connections are closed unanswered.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc};

use actix_web::{
    HttpRequest,
    http::{StatusCode, header},
};

use super::{
    admission::{AddressPermit, Admission},
    client::ProxyConfig,
    problem::Problem,
};
use crate::shutdown::reconnect_after;
use tricast_core::counters::{Counters, Limit};

/// How one connection is counted.
pub struct Counted {
    admission: Arc<Admission>,
    /// `None` for a trusted proxy, which counts its own clients, and for a Unix socket.
    address: Option<IpAddr>,
    /// Its permit among the connections of its address; none while it carries a stream, or when there was none left.
    permit: RefCell<Option<AddressPermit>>,
    /// Its permit among those that are one too many.
    _beyond: Option<AddressPermit>,
}

impl Counted {
    /// Counts a connection from `peer` that was just opened. `None`: there are so many that it is to be closed at once.
    pub fn open(
        admission: &Arc<Admission>,
        proxies: &ProxyConfig,
        counters: &Counters,
        peer: Option<IpAddr>,
    ) -> Option<Rc<Self>> {
        let address = peer.map(|peer| peer.to_canonical()).filter(|peer| !proxies.trusts(peer));
        let permit = admission.take_connection_permit(address);
        let mut beyond = None;
        if permit.is_none() {
            counters.limit(Limit::ConnectionsPerAddress).inc();
            beyond = Some(admission.take_excess_permit(address)?);
        }
        let admission = Arc::clone(admission);
        Some(Rc::new(Self { admission, address, permit: RefCell::new(permit), _beyond: beyond }))
    }
}

/// A request came in.
///
/// # Errors
/// 429: the address has as many connections as it may, and this is none for a stream.
pub(super) fn asked(request: &HttpRequest) -> Result<(), Problem> {
    let Some(counted) = request.conn_data::<Rc<Counted>>() else { return Ok(()) };
    let mut permit = counted.permit.borrow_mut();
    if permit.is_none() {
        // It carried a stream before, or others have gone since.
        *permit = counted.admission.take_connection_permit(counted.address);
    }
    if permit.is_some() || may_be_a_stream(request) {
        return Ok(());
    }
    let detail = "this address has as many connections as it may: close some, or use one for several requests";
    Err(Problem::too_many(detail, reconnect_after()).and_close())
}

fn may_be_a_stream(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    headers.contains_key(header::UPGRADE) || accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// An answer begins. A connection whose answer is a stream counts as one from now on.
pub(super) fn answered(request: &HttpRequest, status: StatusCode, content_type: Option<&[u8]>) {
    let is_stream = status == StatusCode::SWITCHING_PROTOCOLS
        || content_type.is_some_and(|content_type| content_type.starts_with(b"text/event-stream"));
    if is_stream && let Some(counted) = request.conn_data::<Rc<Counted>>() {
        drop(counted.permit.borrow_mut().take());
    }
}
