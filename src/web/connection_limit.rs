//! Limit of the connections of one address.
//!
//! Idle connections and slow heads occupy descriptors as streams do, so connections are counted per address too: those
//! with a stream by the stream ([`Admission::take_stream_permit`]), all others here, each with the same limit. A
//! connection beyond the limit may still open a stream, which has its own limit and a refusal that an EventSource
//! understands. Any other request is refused with 429. Far beyond the limit connections are closed without a response.

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

/// Permits of one connection.
pub struct Counted {
    admission: Arc<Admission>,
    /// `None` for a trusted proxy, which limits its own clients, and for a Unix socket.
    address: Option<IpAddr>,
    /// Permit among the connections of the address; none while it carries a stream, or if there was none left.
    permit: RefCell<Option<AddressPermit>>,
    /// Permit among the excess connections.
    _beyond: Option<AddressPermit>,
}

impl Counted {
    /// Counts a new connection from `peer`. `None` if there are so many that it has to be closed at once.
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

/// Checks a request on the connection.
///
/// # Errors
/// 429: the address has reached its limit of connections, and this request is not for a stream.
pub(super) fn asked(request: &HttpRequest) -> Result<(), Problem> {
    let Some(counted) = request.conn_data::<Rc<Counted>>() else { return Ok(()) };
    let mut permit = counted.permit.borrow_mut();
    if permit.is_none() {
        // It carried a stream before, or other connections were closed since.
        *permit = counted.admission.take_connection_permit(counted.address);
    }
    if permit.is_some() || may_be_a_stream(request) {
        return Ok(());
    }
    let detail = "this address has reached its connection limit: close some, or use one for several requests";
    Err(Problem::too_many(detail, reconnect_after()).and_close())
}

fn may_be_a_stream(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    headers.contains_key(header::UPGRADE) || accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// Records the start of a response. A connection with a stream as the response is counted as a stream from now on.
pub(super) fn answered(request: &HttpRequest, status: StatusCode, content_type: Option<&[u8]>) {
    let is_stream = status == StatusCode::SWITCHING_PROTOCOLS
        || content_type.is_some_and(|content_type| content_type.starts_with(b"text/event-stream"));
    if is_stream && let Some(counted) = request.conn_data::<Rc<Counted>>() {
        drop(counted.permit.borrow_mut().take());
    }
}
