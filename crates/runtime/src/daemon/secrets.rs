//! The secrets of the front ends that outlive the process: the key of the IMDS tokens, and the bearer tokens of
//! container clients.

use std::path::PathBuf;

use super::Error;
use crate::assembly::Seams;
use anchord_config::Settings;
use anchord_core::secret::Secret;
use anchord_frontend::Bearer;
use anchord_frontend::files;

/// The secrets of the front ends that outlive the process.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) token_key: Option<Secret<[u8; 32]>>,
    /// The bearer tokens, in the order of the sessions.
    pub(super) bearers: Vec<Vec<Bearer>>,
    /// The path of the token key.
    key_file: PathBuf,
    /// The path of each session's bearer tokens.
    token_files: Vec<PathBuf>,
}

impl Secrets {
    /// Reads the secrets, and makes those that do not exist unless another one is invalid. `token_key` is the
    /// predecessor's key; a key in a file goes before it. Without a directory (`has_directory`) the key is only in
    /// memory.
    ///
    /// # Errors
    /// If a file is invalid, or cannot be read or written.
    pub(super) fn load(
        settings: &Settings,
        seams: &Seams,
        has_directory: bool,
        token_key: Option<Secret<[u8; 32]>>,
    ) -> Result<Self, Error> {
        let sessions = settings.sessions.iter().filter(|_| settings.container);
        let token_files: Vec<_> = sessions.map(|session| token_file(settings, &session.name)).collect();
        for file in &token_files {
            files::check_bearers(file)?;
        }
        let key_file = settings.runtime_directory.join("imds-token.key");
        let made = || match has_directory {
            true => files::token_key(&key_file, token_key.as_ref(), &seams.entropy),
            false => files::token_key_in_memory(token_key.as_ref(), &seams.entropy),
        };
        let token_key = settings.imds.as_ref().map(|_| made()).transpose()?;
        let bearers = token_files.iter().map(|file| files::bearers(file, &seams.entropy));
        let bearers = bearers.collect::<Result<_, _>>()?;
        Ok(Self { token_key, bearers, key_file, token_files })
    }

    /// Writes the files again that were deleted. Existing files stay unchanged.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn restore(&self) -> Result<(), Error> {
        if let Some(key) = &self.token_key {
            files::restore_token_key(&self.key_file, key)?;
        }
        for (file, bearers) in self.token_files.iter().zip(&self.bearers) {
            files::restore_bearers(file, bearers)?;
        }
        Ok(())
    }
}

/// The path of the bearer tokens of a session's container clients.
pub(super) fn token_file(settings: &Settings, session: &str) -> PathBuf {
    settings.runtime_directory.join(format!("{session}.token"))
}
