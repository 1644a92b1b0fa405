//! Extractors of the caller: identity, permissions, origin and rate of changes, checked before a handler runs.

use std::{marker::PhantomData, rc::Rc, time::Instant};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::Method};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use super::{
    access,
    caller::Caller,
    origin, precondition,
    problem::Problem,
    state::State,
    typed_query::{self, NoParameters},
};
use tricast_auth::{Binding, Permission};
use tricast_core::version::IfMatch;

/// Requirements of a handler on its caller.
pub trait Requirement: 'static {
    /// Permissions that the caller needs, all of them.
    const PERMISSIONS: &'static [Permission];
    /// Whether the request changes stored data, and so counts for `limits.changes_per_second_per_user`.
    const CHANGES_STORE: bool = false;

    /// Returns whether a token that is bound to these channels meets the requirement, although it has no permission.
    fn is_met_by(_: &Binding) -> bool {
        false
    }
}

/// Any caller that may use the server at all.
pub struct Anyone;

/// Callers that may read metrics ([`Permission::ReadMetrics`]).
pub struct ReadMetrics;

/// Callers with [`Permission::WriteMetrics`], or with a token that is bound to channels to push; [`check_push`] has to check each
/// channel. A push is published, not stored: it has limits of its own.
///
/// [`check_push`]: access::check_push
pub struct WriteMetrics;

impl Requirement for Anyone {
    const PERMISSIONS: &'static [Permission] = &[];
}

impl Requirement for ReadMetrics {
    const PERMISSIONS: &'static [Permission] = &[Permission::ReadMetrics];
}

impl Requirement for WriteMetrics {
    const PERMISSIONS: &'static [Permission] = &[Permission::WriteMetrics];

    fn is_met_by(binding: &Binding) -> bool {
        binding.pushes_any()
    }
}

/// A caller that meets the requirements `R`, with a query of the type `Q`; without one the path has no parameters.
///
/// The checks run from cheap to expensive and from the outside in: origin of the page (403; not for GET and HEAD),
/// identity (401, or 429 at the limit of tenants), permissions (403), rate of changes (429). The query (400) is last, so that
/// an error in it never hides a 401 or 403. Preconditions are read by a method for the same reason.
///
/// Place it behind [`actix_web::web::Path`] in a handler's parameters: extractors run in that order.
pub struct Authorized<R, Q = NoParameters> {
    /// State of the worker.
    pub state: Rc<State>,
    /// Identity of the caller, and its tenant.
    pub caller: Caller,
    /// Start of the checks.
    pub arrived: Instant,
    /// Parameters of the query.
    pub query: Q,
    request: HttpRequest,
    requirement: PhantomData<R>,
}

impl<R, Q> Authorized<R, Q> {
    /// Parses `If-Match`; `None` without one.
    ///
    /// # Errors
    /// Those of [`precondition::if_match`].
    pub fn if_match(&self) -> Result<Option<IfMatch>, Problem> {
        precondition::if_match(self.request.headers())
    }
}

impl<R: Requirement, Q: DeserializeOwned> Authorized<R, Q> {
    async fn check(request: &HttpRequest) -> Result<Self, Problem> {
        let arrived = Instant::now();
        let state = State::of(request)?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            origin::check(&state, request)?;
        }
        let caller = access::identify(&state, request).await?;
        if !caller.identity.binding().is_some_and(R::is_met_by) {
            R::PERMISSIONS.iter().try_for_each(|permission| caller.needs(*permission))?;
        }
        if R::CHANGES_STORE {
            state.check_change_rate(&caller)?;
        }
        let query = typed_query::read(request)?;
        Ok(Self { state, caller, arrived, query, request: request.clone(), requirement: PhantomData })
    }
}

impl<R: Requirement, Q: DeserializeOwned + 'static> FromRequest for Authorized<R, Q> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Self::check(&request).await })
    }
}
