//! Access control: tokens and identities.

use std::{net::IpAddr, rc::Rc, time::Duration};

use actix_web::{HttpMessage, HttpRequest};

use super::{
    caller::Caller,
    credential::{self, Accept, Credential},
    machine_keys,
    problem::Problem,
    state::State,
};
use tricast_auth::{Identity, KEY_PREFIX, TokenError};
use tricast_core::{
    channel::{Channel, Selector},
    counters::Limit,
};

/// Identifies the caller by its token.
///
/// # Errors
/// 401 without a valid token; 429 if the server has reached its limit of tenants.
pub async fn identify(state: &State, request: &HttpRequest) -> Result<Caller, Problem> {
    known(authenticate(state, request, Accept::Tokens).await?)
}

/// Identifies the caller of a stream by its token or ticket.
///
/// # Errors
/// Those of [`identify`].
pub async fn identify_stream(state: &State, request: &HttpRequest) -> Result<Caller, Problem> {
    known(visitor(state, request).await?)
}

fn known<T>(caller: Option<T>) -> Result<T, Problem> {
    caller.ok_or_else(|| {
        Problem::unauthorized(None, "authentication is required: send an \"Authorization: Bearer\" header")
    })
}

/// Returns the identity of the caller of a server that requires tokens. Its tenant is not started, so this also works at
/// the limit of tenants.
///
/// # Errors
/// 401 without a valid token.
pub async fn identity(state: &State, request: &HttpRequest) -> Result<Identity, Problem> {
    known(read_identity(state, request, Accept::Tokens).await?)
}

/// Identifies the caller of a stream; `None` without credentials if a token is required.
///
/// # Errors
/// 401 for a token or ticket that is not valid; 429 if the server has reached its limit of tenants.
pub async fn visitor(state: &State, request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    authenticate(state, request, Accept::Tickets).await
}

async fn authenticate(state: &State, request: &HttpRequest, accept: Accept) -> Result<Option<Caller>, Problem> {
    let address = state.address(request);
    if let Some(home) = state.single_tenant() {
        return Ok(Some(Caller::new(Identity::anonymous(address), Rc::clone(home))));
    }
    let Some(identity) = read_identity(state, request, accept).await? else { return Ok(None) };
    let caller = state.caller(identity.with_address(address))?;
    request.extensions_mut().insert(Rc::clone(&caller.local));
    Ok(Some(caller))
}

async fn read_identity(state: &State, request: &HttpRequest, accept: Accept) -> Result<Option<Identity>, Problem> {
    match credential::of(&state.shared.access, request, accept)? {
        None => Ok(None),
        Some(Credential::Ticket(ticket)) => {
            let redeemed = current(state, redeem(state, &ticket).await).await?;
            // The token behind it may have expired since.
            let good = redeemed.filter(|identity| identity.expires_at.is_none_or(|at| at > state.shared.clock.now()));
            let good = good.ok_or_else(|| {
                state.shared.counters.refused_tokens.inc();
                Problem::unauthorized(Some("invalid_token"), "this ticket was already used, has expired, or is unknown")
            });
            good.map(Some)
        }
        Some(Credential::Token(token)) => {
            verify(state, &token, state.address(request)).await.map(Some).map_err(token_problem)
        }
    }
}

/// Redeems a ticket. In a cluster another node may have issued it, so the bus decides who redeems it first; without a bus a
/// ticket is valid on the node that issued it.
async fn redeem(state: &State, ticket: &str) -> Option<Identity> {
    let here = state.shared.access.tickets.redeem(ticket, std::time::Instant::now());
    let Some(cluster) = state.shared.tenants.cluster() else { return here };
    match cluster.take_once(&tricast_auth::ticket_name(ticket)).await {
        Ok(kept) => kept.and_then(|kept| Identity::from_json(&kept)),
        Err(_) => here,
    }
}

/// Returns the identity behind a ticket as it is now: its key may have been revoked since.
async fn current(state: &State, redeemed: Option<Identity>) -> Result<Option<Identity>, Problem> {
    let Some(key) = redeemed.as_ref().and_then(Identity::key) else { return Ok(redeemed) };
    let Some(keys) = &state.shared.access.keys else { return Ok(None) };
    match keys.identity_of(key.id()).await {
        Ok(identity) => Ok(Some(identity)),
        Err(error @ TokenError::StoreUnavailable) => Err(token_problem(error)),
        Err(_) => Ok(None),
    }
}

/// Verifies a token or key that a client at `address` sent, and returns its identity.
///
/// # Errors
/// [`TokenError`]; the refusal is counted.
pub async fn verify(state: &State, token: &str, address: Option<IpAddr>) -> Result<Identity, TokenError> {
    let verified = match (&state.shared.access.keys, &state.shared.access.verifier) {
        (Some(keys), _) if token.starts_with(KEY_PREFIX) => keys.verify(token, address).await,
        (_, None) => Err(TokenError::UnknownKey),
        (_, Some(verifier)) => match verifier.verify(token) {
            Err(TokenError::UnknownKey | TokenError::KeysUnavailable) => verifier.verify_fetching(token).await,
            known => known,
        },
    };
    verified.inspect_err(|error| {
        state.shared.counters.refused_tokens.inc();
        if *error == TokenError::TooManyUnknown {
            state.shared.counters.limit(Limit::UnknownKeys).inc();
        }
        tracing::info!(%error, "a token was refused");
    })
}

/// Converts the refusal of a token to a problem.
pub fn token_problem(error: TokenError) -> Problem {
    match error {
        TokenError::StoreUnavailable => {
            return Problem::unavailable(format!("the key {error}"), Duration::from_secs(2));
        }
        TokenError::TooManyUnknown => return Problem::too_many(format!("the key {error}"), machine_keys::TRY_AGAIN),
        _ => {}
    }
    let detail = format!("the token {error}");
    Problem { may_pass: error.may_pass(), ..Problem::unauthorized(Some("invalid_token"), detail) }
}

/// Checks that `identity` may read all `selectors`.
///
/// # Errors
/// 403.
pub fn check_reading(identity: &Identity, selectors: &[Selector]) -> Result<(), Problem> {
    match selectors.iter().find(|selector| !tricast_auth::may_read(identity, selector)) {
        Some(selector) => Err(Problem::forbidden(format!("this token may not read {selector}"))),
        None => Ok(()),
    }
}

/// Checks that `identity` may push to `channel`, and end it.
///
/// # Errors
/// 403.
pub fn check_push(identity: &Identity, channel: &Channel) -> Result<(), Problem> {
    if tricast_auth::may_push(identity, channel) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this token may not push to {channel:?}")))
}
