//! YAML configuration, compiled into what ingress and bridge run.
//!
//! [`load`] reads a file's text into a [`Config`] or *all* its errors, each with line and column: first the text
//! into a tree of values with positions ([`yaml`]), then the tree into typed sections, then references and
//! expressions across sections. A [`Config`] is valid as a whole; nothing is opened or bound before.
//!
//! Pure: reading files, resolving host names and serving are others' work.

pub mod condition;
pub mod config;
pub mod diagnostic;
pub mod facts;
pub mod template;
pub mod testing;
pub mod yaml;

pub mod duration;
mod read;
mod size;

pub use condition::Condition;
pub use config::Config;
pub use diagnostic::{Diagnostic, Position};
pub use facts::Facts;

/// Most errors that are reported, so that a file of something else does not flood the screen.
pub const ERRORS_MAX: usize = 1000;

/// Reads a configuration; `Err` holds every error found up to [`ERRORS_MAX`], in the order of the text.
pub fn load(text: &str) -> Result<Config, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let config = match yaml::parse(text, &mut problems) {
        Ok(root) => Some(config::read(&root, text, &mut problems)),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    problems.sort_by_key(|problem| (problem.at.line, problem.at.column));
    problems.truncate(ERRORS_MAX);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests;
