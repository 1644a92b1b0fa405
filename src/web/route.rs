//! Registering a path so that a wrong method is answered properly.

use std::cell::RefCell;

use actix_web::{Resource, web};

use super::problem::Problem;

thread_local! {
    /// The list that [`listed`] is making, if it is on this thread.
    static LIST: RefCell<Option<Vec<Registered>>> = const { RefCell::new(None) };
}

/// A path with the methods that it answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// As it is registered: `/api/orders/{id}`, `/static/{path:.*}`.
    pub path: String,
    /// As a 405 says it: `GET, HEAD, POST`.
    pub allow: &'static str,
}

/// Adds `path`; any method that `with` does not route is answered 405 with `allow`.
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

/// Everything that `register` adds, in its order. [`add`] is the one door, so nothing can be missing from it: the
/// description of the interface is compared with this list.
pub fn listed(register: impl FnOnce()) -> Vec<Registered> {
    LIST.set(Some(Vec::new()));
    register();
    LIST.take().unwrap_or_default()
}

/// A route for GET and HEAD.
pub fn get_or_head() -> actix_web::Route {
    use actix_web::guard;
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
