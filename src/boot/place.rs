//! Which server a command means: by its data directory, or by the file that it runs by.

use super::BootError;
use crate::cli::manage::Place;
use crate::config::{Config, DEFAULT_PATH};
use std::path::{Path, PathBuf};

/// The data directory that is meant.
///
/// # Errors
/// [`BootError::Configuration`].
pub fn data_directory(place: &Place) -> Result<PathBuf, BootError> {
    Ok(find(place)?.0)
}

/// The data directory, and the configuration if that is how the server was named.
///
/// # Errors
/// [`BootError::Configuration`].
pub fn find(place: &Place) -> Result<(PathBuf, Option<Config>), BootError> {
    if let Some(data) = &place.data {
        return Ok((data.clone(), None));
    }
    let path = place.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let config = Config::load(path)?.0;
    Ok((config.server.data.clone(), Some(config)))
}
