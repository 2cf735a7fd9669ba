//! The variables that a PKCS#11 module gets: those that modules and their libraries are known to read, and those that
//! the user names.
//!
//! A module is foreign code. The daemon's own variables may hold AWS keys, passphrases and tokens of other programs,
//! and systemd's name sockets on which no module should answer.

use std::ffi::OsStr;
use std::ffi::OsString;

/// Names more variables, separated by commas or spaces.
const MORE: &str = "ANCHORD_PKCS11_ENVIRONMENT";

/// Names, or beginnings of names followed by `*`. README.md has the list for users.
const PASSED_ON: &[&str] = &[
    // Where files of the user, libraries and translations are, and what time it is.
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LD_LIBRARY_PATH",
    "XDG_*",
    // Services that modules speak to: a desktop's key ring, PIN dialogs, smart cards through pcscd or GnuPG.
    "DBUS_*",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "PCSCLITE_*",
    "LIBPCSCLITE_*",
    "GNUPGHOME",
    // p11-kit, and the proxies and tools around modules.
    "P11_KIT_*",
    "PKCS11_*",
    "PKCS11SPY*",
    // Software tokens: SoftHSM, NSS, Kryoptic.
    "SOFTHSM2_CONF",
    "SOFTHSM_CONF",
    "NSS_*",
    "KRYOPTIC_CONF",
    // Smart cards: OpenSC, Yubico.
    "OPENSC_*",
    "YKCS11_*",
    // TPMs: tpm2-pkcs11 and the TPM software stack under it.
    "TPM2_PKCS11_*",
    "TSS2_*",
    // HSMs: Yubico, Nitrokey, AWS CloudHSM, Thales, Entrust, Utimaco, openCryptoki, Google Cloud KMS.
    "YUBIHSM_*",
    "P11NETHSM_*",
    "CLOUDHSM_*",
    "ChrystokiConfigurationPath",
    "ET_*",
    "NFAST_*",
    "CKNFAST_*",
    "CS_PKCS11_*",
    "CRYPTOSERVER",
    "OPENCRYPTOKI_*",
    "KMS_PKCS11_*",
];

/// Selects the variables that a module gets.
pub(super) fn for_modules(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> = variables.into_iter().collect();
    let more = variables.iter().find(|(name, _)| name == MORE);
    let more = more.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default();
    let more: Vec<&str> = more.split([',', ' ']).filter(|pattern| !pattern.is_empty()).collect();
    variables.retain(|(name, _)| PASSED_ON.iter().chain(&more).any(|pattern| fits(pattern, name)));
    variables
}

fn fits(pattern: &str, name: &OsStr) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.as_encoded_bytes().starts_with(beginning.as_bytes()),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_passed_on(names: &[&str], more: Option<&str>) -> Vec<String> {
        let more = more.map(|value| (MORE.into(), value.into()));
        let variables = names.iter().map(|name| (name.into(), "value".into())).chain(more);
        for_modules(variables).into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_module_sees_its_own_settings_and_no_secrets_of_the_daemon() {
        let its_own = [
            "HOME",
            "LC_ALL",
            "XDG_RUNTIME_DIR",
            "SOFTHSM2_CONF",
            "P11_KIT_SERVER_ADDRESS",
            "TPM2_PKCS11_STORE",
            "TSS2_LOG",
            "OPENSC_CONF",
        ];
        let others = [
            "AWS_SECRET_ACCESS_KEY",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "ANCHORD_PASSPHRASE",
            "HTTPS_PROXY",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LD_PRELOAD",
            "CREDENTIALS_DIRECTORY",
            "VAULT_TOKEN",
            "HOMEBREW_GITHUB_API_TOKEN",
        ];

        assert_eq!(names_passed_on(&[&its_own[..], &others[..]].concat(), None), its_own);
    }

    #[test]
    fn a_module_sees_what_the_user_names() {
        let names = ["VENDOR_CONF", "VENDOR_LOG", "OTHER_CONF", "OTHER_SECRET", "AWS_PROFILE"];

        assert_eq!(names_passed_on(&names, Some("VENDOR_*, OTHER_CONF")), names[..3]);
        assert_eq!(names_passed_on(&names, Some(" ,, ")), [] as [&str; 0]);
        assert_eq!(names_passed_on(&names, Some("*")).len(), names.len() + 1);
    }

    #[test]
    fn every_variable_that_passes_is_in_the_readme() {
        let readme = include_str!("../../../../../README.md");

        for pattern in PASSED_ON {
            assert!(readme.contains(&format!("`{pattern}`")), "{pattern}");
        }
    }
}
