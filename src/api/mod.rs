//! REST API and pages: one file per resource, with its handlers and their OpenAPI descriptions.

pub mod alerts;
pub mod assets;
pub mod channels;
pub mod customers;
pub mod dashboards;
pub mod doctor;
pub mod doors;
pub mod exposition;
pub mod health;
pub mod history;
pub mod keys;
pub mod me;
pub mod metrics_page;
pub mod openapi;
pub mod orders;
pub mod pages;
pub mod push;
pub mod sign_in;
pub mod stats;
