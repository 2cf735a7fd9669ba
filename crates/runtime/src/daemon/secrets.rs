//! The secrets of the front ends that outlive the process: the key of the IMDS tokens, and the bearers of containers.

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
    /// In the order of the sessions.
    pub(super) bearers: Vec<Vec<Bearer>>,
    /// Where the token key is.
    key_file: PathBuf,
    /// Where each session's bearers are.
    token_files: Vec<PathBuf>,
}

impl Secrets {
    /// Reads them, and makes those that do not exist if nothing is wrong with the others. `token_key` is the one that
    /// a predecessor had; a file goes before it. Unless it `has_directory` to write to, the key is in memory alone.
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

    /// Writes their files again after they were deleted; a file that is there is left alone.
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

/// Where the bearers of a session's container clients are.
pub(super) fn token_file(settings: &Settings, session: &str) -> PathBuf {
    settings.runtime_directory.join(format!("{session}.token"))
}
