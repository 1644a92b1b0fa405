//! Registering a path so that a wrong method is answered properly.

use actix_web::{Resource, web};

use super::problem::Problem;

/// Adds `path`; any method that `with` does not route is answered 405 with `allow`.
pub fn add(config: &mut web::ServiceConfig, path: &str, allow: &'static str, with: impl FnOnce(Resource) -> Resource) {
    let resource = web::resource(path).default_service(web::to(move || async move {
        Err::<actix_web::HttpResponse, Problem>(Problem::method_not_allowed(allow))
    }));
    config.service(with(resource));
}

/// A route for GET and HEAD.
pub fn get_or_head() -> actix_web::Route {
    use actix_web::guard;
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
