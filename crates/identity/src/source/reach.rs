//! What loading an identity reaches besides reading files: a daemon's sandbox has to leave it.

use std::path::Path;
use std::path::PathBuf;

use super::Locator;
use super::Source;
use crate::pkcs11;
use crate::tpm;
use anchord_core::content;

/// What loading an identity reaches besides reading files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The TPM's device. A key file may turn out to be wrapped by the TPM, so it is here for each key file.
    pub device: Option<PathBuf>,
    /// Whether the key is known to be in the TPM.
    pub has_tpm_key: bool,
    /// Whether it connects to a Unix socket, of an agent or an emulator.
    pub unix_socket: bool,
    /// The TCP ports of an agent or an emulator.
    pub ports: Vec<u16>,
    /// Whether a certificate or key is in a PKCS#11 token.
    pub has_token: bool,
    /// The PKCS#11 modules, as far as they are known.
    pub modules: Vec<PathBuf>,
}

impl Source {
    /// What loading it reaches. Reads the key file, if there is one, and may block.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        for place in self.places() {
            match place {
                Locator::File(_) | Locator::Input(_) | Locator::Tpm(_) => {}
                Locator::Token(uri) => {
                    reach.has_token = true;
                    reach.modules.extend(pkcs11::module_of(uri, self.pkcs11_module.as_deref()));
                }
                Locator::Agent(agent) => {
                    reach.ports.extend(agent.endpoint.port());
                    reach.unix_socket |= agent.endpoint.path().is_some();
                }
            }
        }
        self.add_tpm(&mut reach);
        reach
    }

    fn add_tpm(&self, reach: &mut Reach) {
        let key = self.key_place();
        reach.has_tpm_key = match key {
            Locator::Tpm(_) => true,
            Locator::Token(_) | Locator::Agent(_) => return,
            Locator::File(_) | Locator::Input(_) => key.file().is_some_and(is_wrapped_by_a_tpm),
        };
        match &self.tpm {
            tpm::Device::Character(path) => reach.device = Some(path.clone()),
            tpm::Device::Tcp { port, .. } => reach.ports.push(*port),
            tpm::Device::Unix(_) => reach.unix_socket = true,
        }
    }
}

fn is_wrapped_by_a_tpm(path: &Path) -> bool {
    const LABEL: &[u8] = b"TSS2 PRIVATE KEY";
    const LONGEST: u64 = 1 << 20;
    let Ok(content) = content::read(path, LONGEST) else { return false };
    content.bytes.expose().windows(LABEL.len()).any(|part| part == LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(key: &str, tpm: &str) -> Source {
        Source { tpm: tpm.parse().unwrap(), ..Source::of_files("leaf.pem", key) }
    }

    #[test]
    fn a_key_file_may_need_the_tpm_and_one_that_it_has_wrapped_does() {
        let folder = tempfile::tempdir().unwrap();
        let [plain, wrapped] = ["plain", "wrapped"].map(|name| folder.path().join(name));
        fs_err::write(&plain, "-----BEGIN PRIVATE KEY-----").unwrap();
        fs_err::write(&wrapped, "x\n-----BEGIN TSS2 PRIVATE KEY-----").unwrap();

        let plain = source(plain.to_str().unwrap(), "device:/dev/tpm7").reach();
        let wrapped = source(wrapped.to_str().unwrap(), "device:/dev/tpm7").reach();

        assert_eq!((plain.device.clone(), plain.has_tpm_key), (Some("/dev/tpm7".into()), false));
        assert_eq!(wrapped, Reach { has_tpm_key: true, ..plain });
    }

    #[test]
    fn an_emulator_is_reached_by_its_port_or_its_socket() {
        assert_eq!(source("key.pem", "swtpm:host=localhost,port=7").reach().ports, [7]);
        assert!(source("key.pem", "swtpm:path=/run/swtpm").reach().unix_socket);
    }

    #[test]
    fn a_token_is_reached_through_its_module_whether_or_not_the_file_is_there() {
        let uri = Box::new("pkcs11:token=a?module-path=/nope/module.so".parse().unwrap());
        let in_token = Source { private_key: Some(Locator::Token(uri)), ..source("key.pem", "device:") };

        let reach = in_token.reach();

        let expected = Reach { has_token: true, modules: vec!["/nope/module.so".into()], ..Reach::default() };
        assert_eq!(reach, expected);
    }
}
