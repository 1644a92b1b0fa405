//! Chunked bodies that a handler did not read to the end.
//!
//! After a response, actix-http reads the rest of a chunked body for as long as the client keeps sending, without a time
//! limit. Only if the body is still referenced does it close the connection instead. So the middleware keeps a reference
//! until the response is written.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::header,
};
use bytes::Bytes;
use futures_util::Stream;

/// A chunked body, shared between the handler and the middleware.
#[derive(Clone)]
pub(super) struct Chunked(Rc<RefCell<Inner>>);

struct Inner {
    payload: Payload,
    ended: bool,
}

impl Chunked {
    /// Keeps a reference to the request's body, if it is chunked.
    pub(super) fn hold(request: &mut ServiceRequest) -> Option<Self> {
        if !request.headers().contains_key(header::TRANSFER_ENCODING) {
            return None;
        }
        let held = Self(Rc::new(RefCell::new(Inner { payload: request.take_payload(), ended: false })));
        request.set_payload(Payload::Stream { payload: Box::pin(held.clone()) });
        Some(held)
    }

    /// Closes the connection after `response` if the body was not read to its end.
    pub(super) fn release(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        if self.0.borrow().ended {
            return response;
        }
        let mut response = response.map_body(|_, body| Holding { body, _unread: self }.boxed());
        response.response_mut().head_mut().set_connection_type(actix_http::ConnectionType::Close);
        response
    }
}

impl Stream for Chunked {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.0.borrow_mut();
        let next = Pin::new(&mut inner.payload).poll_next(cx);
        inner.ended |= matches!(next, Poll::Ready(None));
        next
    }
}

/// Response body that keeps a reference to a request body until it is written.
struct Holding {
    body: BoxBody,
    _unread: Chunked,
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
