//! `POST` and `DELETE /api/session`: sign-in of the server's own pages with a cookie.
//!
//! A page that keeps its token in script needs it again in each tab and after each link. The cookie contains the same
//! token: it is `HttpOnly`, is not sent from other sites (`SameSite=Lax`), and expires with the token.

use actix_web::{HttpRequest, HttpResponse, http::header};

use crate::web::{
    access,
    body::Body,
    config::SESSION_COOKIE,
    origin::{self, Origin},
    problem::Problem,
    state::{State, WorkerState},
    typed_query::NoParameters,
};

/// A token for signing in.
#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// A JSON Web Token that this server accepts.
    token: String,
}

/// Handles `POST /api/session`: 204 with the cookie.
#[utoipa::path(
    post,
    path = "/api/session",
    tag = "Callers",
    operation_id = "createSession",
    summary = "Sign in a browser",
    description = "Sets a cookie with the token, which expires with it, so that every page of this server in this browser is \
        signed in. Pages of other origins are refused.",
    request_body = SignIn,
    responses(
        (status = 204, description = "Signed in", headers(("Set-Cookie" = String, description = "`HttpOnly`, `SameSite=Lax`"))),
        (status = 401, description = "The token is not valid"),
    ),
    security(())
)]
pub async fn create(
    request: HttpRequest,
    WorkerState(state): WorkerState,
    _: NoParameters,
    body: Body,
) -> Result<HttpResponse, Problem> {
    check_own_page(&state, &request)?;
    let SignIn { token } = body.json().await?;
    let token = token.trim();
    if !state.shared.access.requires_tokens() {
        return Ok(HttpResponse::NoContent().finish()); // no token is needed
    }
    let identity = access::verify(&state, token, state.address(&request)).await.map_err(access::token_problem)?;
    let left = identity.expires_at.map(|ends| ends.duration_since(state.shared.clock.now()).as_secs().max(0));
    Ok(answer(&cookie(&state, &request, token, left)))
}

/// Handles `DELETE /api/session`: 204, and removes the cookie.
#[utoipa::path(
    delete,
    path = "/api/session",
    tag = "Callers",
    operation_id = "deleteSession",
    summary = "Sign out a browser",
    responses((status = 204, description = "Signed out")),
    security(())
)]
pub async fn delete(
    request: HttpRequest,
    WorkerState(state): WorkerState,
    _: NoParameters,
) -> Result<HttpResponse, Problem> {
    check_own_page(&state, &request)?;
    Ok(answer(&cookie(&state, &request, "", Some(0))))
}

/// Refuses pages of other origins, also allowed ones: they would sign the user in as another one.
fn check_own_page(state: &State, request: &HttpRequest) -> Result<(), Problem> {
    match origin::of(&state.shared.access, request) {
        Origin::Own | Origin::Absent => Ok(()),
        Origin::Allowed | Origin::Foreign => {
            Err(Problem::forbidden("only this server's own pages may sign a browser in or out"))
        }
    }
}

/// Returns the field `Set-Cookie` (RFC 6265, section 4.1). A verified token contains no characters that need quoting.
fn cookie(state: &State, request: &HttpRequest, token: &str, seconds: Option<i64>) -> String {
    let name = state.shared.access.cookie.as_deref().unwrap_or(SESSION_COOKIE);
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let secure =
        origin.or(state.shared.access.public_origin.as_deref()).is_some_and(|origin| origin.starts_with("https:"));
    let mut field = format!("{name}={token}; Path={}; HttpOnly; SameSite=Lax", state.shared.access.pages_path);
    if let Some(seconds) = seconds {
        field.push_str(&format!("; Max-Age={seconds}"));
    }
    if secure {
        field.push_str("; Secure");
    }
    field
}

fn answer(cookie: &str) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::SET_COOKIE, cookie))
        .finish()
}
