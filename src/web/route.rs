//! Registration of paths with their methods, so that a wrong method gets a 405.

use std::cell::RefCell;

use actix_web::{Resource, web};

use super::problem::Problem;

thread_local! {
    /// List that [`listed`] is collecting on this thread, if any.
    static LIST: RefCell<Option<Vec<Registered>>> = const { RefCell::new(None) };
}

/// Registered path with its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Pattern of the path: `/api/orders/{id}`, `/static/{path:.*}`.
    pub path: String,
    /// Methods as in a 405: `GET, HEAD, POST`.
    pub allow: &'static str,
}

/// Adds `path`. Methods that `with` does not route get 405 with `allow`.
pub fn add(config: &mut web::ServiceConfig, path: &str, allow: &'static str, with: impl FnOnce(Resource) -> Resource) {
    LIST.with_borrow_mut(|list| {
        if let Some(list) = list {
            list.push(Registered { path: path.to_owned(), allow });
        }
    });
    let resource = web::resource(path).default_service(web::to(move || async move {
        Err::<actix_web::HttpResponse, Problem>(Problem::method_not_allowed(allow))
    }));
    config.service(with(resource));
}

/// Returns all paths that `register` adds, in order. [`add`] is the only way to add one, so the list is complete; tests
/// compare the OpenAPI document with it.
pub fn listed(register: impl FnOnce()) -> Vec<Registered> {
    LIST.set(Some(Vec::new()));
    register();
    LIST.take().unwrap_or_default()
}

/// Returns the segment that stands for the channel in a path of the pattern `/api/metrics/{channel}`.
pub fn channel_in(path: &str) -> Option<&str> {
    path.strip_prefix("/api/metrics/").filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Creates a route for GET and HEAD.
pub fn get_or_head() -> actix_web::Route {
    use actix_web::guard;
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
