//! The state of a token's worker: its session, its login and the keys it has found.

use std::collections::HashMap;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error as CryptokiError;
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::CertificateType;
use cryptoki::object::KeyType;
use cryptoki::object::ObjectClass as CryptokiClass;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::slot::TokenInfo;
use cryptoki::types::RawAuthPin;
use ring::digest;

use super::describe;
use super::name_of;
use crate::pkcs11::protocol::Bytes;
use crate::pkcs11::protocol::KeyName;
use crate::pkcs11::protocol::MAX_OBJECTS;
use crate::pkcs11::protocol::ModuleFault;
use crate::pkcs11::protocol::Object;
use crate::pkcs11::protocol::ObjectClass;
use crate::pkcs11::protocol::PinOutcome;
use crate::pkcs11::protocol::TokenKeyType;
use crate::pkcs11::protocol::TokenOperation;
use crate::pkcs11::protocol::TokenResponse;
use crate::pkcs11::protocol::TokenSlot;
use anchord_core::secret::Secret;

/// The state that a worker keeps between requests.
#[derive(Default)]
pub(super) struct TokenWorker {
    open: Option<OpenSession>,
}

struct OpenSession {
    session: Session,
    place: TokenSlot,
    has_logged_in: bool,
    /// The PIN it logged in with.
    pin: Option<Secret<Vec<u8>>>,
    keys: HashMap<KeyName, ObjectHandle>,
}

/// The PIN of a request, and its outcome.
pub(super) struct Login<'a> {
    pub(super) pin: Option<&'a Secret<Vec<u8>>>,
    /// Do not try the PIN if the token has counted a wrong one.
    pub(super) careful: bool,
    pub(super) outcome: PinOutcome,
}

/// Why a step failed: the session was lost, or another fault.
enum StepFailure {
    Lost(String),
    Fault(ModuleFault),
}

impl From<ModuleFault> for StepFailure {
    fn from(fault: ModuleFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<CryptokiError> for StepFailure {
    fn from(error: CryptokiError) -> Self {
        let text = describe(&error);
        let CryptokiError::Pkcs11(code, _) = error else { return Self::Fault(ModuleFault::Failed(text)) };
        match code {
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceError
            | RvError::SlotIdInvalid
            | RvError::OperationActive
            | RvError::OperationNotInitialized
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid => Self::Lost(text),
            RvError::MechanismInvalid | RvError::KeyTypeInconsistent | RvError::KeyFunctionNotPermitted => {
                Self::Fault(ModuleFault::Mechanism(text))
            }
            _ => Self::Fault(ModuleFault::Failed(text)),
        }
    }
}

impl TokenWorker {
    /// Performs an operation. If the session was lost, opens it again, once. It does not if a PIN was being tried: the
    /// token may have counted that PIN and must not get it twice.
    pub(super) fn perform(
        &mut self,
        module: &Pkcs11,
        task: &TokenOperation,
        login: &mut Login<'_>,
    ) -> Result<TokenResponse, ModuleFault> {
        let mut result = self.attempt(module, task, login);
        if matches!(result, Err(StepFailure::Lost(_))) && login.outcome != PinOutcome::Unknown {
            self.open = None;
            result = self.attempt(module, task, login);
        }
        result.map_err(|stop| {
            // The failure may have left an unfinished operation in the session.
            self.open = None;
            match stop {
                StepFailure::Lost(why) if login.outcome == PinOutcome::Unknown => ModuleFault::Failed(why),
                StepFailure::Lost(why) => ModuleFault::Lost(why),
                StepFailure::Fault(fault) => fault,
            }
        })
    }

    fn attempt(
        &mut self,
        module: &Pkcs11,
        task: &TokenOperation,
        login: &mut Login<'_>,
    ) -> Result<TokenResponse, StepFailure> {
        let Some(place) = task.place() else {
            return Err(ModuleFault::Failed("a task without a token".into()).into());
        };
        let open = self.open_at(module, place)?;
        match task {
            TokenOperation::Tokens => Err(ModuleFault::Failed("a task without a token".into()).into()),
            TokenOperation::Find { class, id, label, login: wanted, .. } => {
                if *wanted {
                    open.log_in(module, login)?;
                }
                Ok(TokenResponse::Objects(open.find(*class, id.as_ref(), label.as_deref())?))
            }
            TokenOperation::Sign { key, message, .. } => {
                open.log_in(module, login)?;
                Ok(TokenResponse::Signature(Bytes(open.sign(module, key, &message.0, login)?)))
            }
        }
    }

    /// The session with this token. The slot may hold another token by now.
    fn open_at(&mut self, module: &Pkcs11, place: &TokenSlot) -> Result<&mut OpenSession, StepFailure> {
        if self.open.as_ref().is_some_and(|open| open.place != *place) {
            self.open = None;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            empty => {
                let slot = slot(place)?;
                if name_of(&module.get_token_info(slot)?) != place.token {
                    return Err(ModuleFault::TokenGone.into());
                }
                let session = module.open_ro_session(slot)?;
                let place = place.clone();
                Ok(empty.insert(OpenSession {
                    session,
                    place,
                    has_logged_in: false,
                    pin: None,
                    keys: HashMap::new(),
                }))
            }
        }
    }
}

fn slot(place: &TokenSlot) -> Result<Slot, StepFailure> {
    Slot::try_from(place.slot).map_err(|_| ModuleFault::TokenGone.into())
}

impl OpenSession {
    /// Logs in if the token requires it. A request with another PIN than the one of the current login logs in again:
    /// otherwise a wrong PIN would seem to work until the session is lost.
    fn log_in(&mut self, module: &Pkcs11, login: &mut Login<'_>) -> Result<(), StepFailure> {
        if self.has_logged_in && self.pin.as_ref() == login.pin {
            return Ok(());
        }
        if std::mem::take(&mut self.has_logged_in) {
            self.keys.clear();
            self.session.logout()?;
        }
        let token = module.get_token_info(slot(&self.place)?)?;
        if token.login_required() {
            self.try_pin(UserType::User, &token, login)?;
        }
        self.has_logged_in = true;
        self.pin = login.pin.cloned();
        Ok(())
    }

    /// The only place where a PIN is given to a token.
    fn try_pin(&self, user: UserType, token: &TokenInfo, login: &mut Login<'_>) -> Result<(), StepFailure> {
        let has_own_pin = token.protected_authentication_path();
        let pin = if has_own_pin { None } else { Some(login.pin.ok_or(ModuleFault::PinNeeded)?) };
        may_be_tried(token, login.careful || login.outcome == PinOutcome::Unknown)?;
        // Until the token answers, and if it answers with an unclear error.
        login.outcome = PinOutcome::Unknown;
        let tried = match pin {
            None => self.session.login(user, None),
            Some(pin) => self.session.login_with_raw(user, &RawAuthPin::new(Box::new(pin.expose().clone()))),
        };
        let (outcome, result) = match tried {
            Ok(()) => (PinOutcome::Taken, Ok(())),
            // An earlier session of this process has logged in: a login belongs to the token, not to the session
            // (PKCS#11 3.1, 5.6.8).
            Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => (PinOutcome::Untried, Ok(())),
            Err(CryptokiError::Pkcs11(RvError::PinLocked, _)) => {
                (PinOutcome::Refused, Err(ModuleFault::PinLocked.into()))
            }
            Err(error) if is_refusal(&error) => {
                (PinOutcome::Refused, Err(ModuleFault::PinRefused(describe(&error)).into()))
            }
            Err(error) => (PinOutcome::Unknown, Err(error.into())),
        };
        login.outcome = outcome;
        result
    }

    fn find(
        &self,
        class: ObjectClass,
        id: Option<&Bytes>,
        label: Option<&str>,
    ) -> Result<Vec<Object>, StepFailure> {
        let mut template = match class {
            ObjectClass::Certificate => vec![
                Attribute::Class(CryptokiClass::CERTIFICATE),
                Attribute::CertificateType(CertificateType::X_509),
            ],
            ObjectClass::PublicKey => vec![Attribute::Class(CryptokiClass::PUBLIC_KEY)],
            ObjectClass::PrivateKey => vec![Attribute::Class(CryptokiClass::PRIVATE_KEY)],
        };
        template.extend(id.map(|id| Attribute::Id(id.0.clone())));
        template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
        let handles = self.session.find_objects(&template)?;
        if handles.len() > MAX_OBJECTS {
            return Err(ModuleFault::TooMany.into());
        }
        handles.into_iter().map(|handle| self.read(class, handle)).collect()
    }

    fn read(&self, class: ObjectClass, handle: ObjectHandle) -> Result<Object, StepFailure> {
        let mut object = Object::default();
        let always = [AttributeType::Label, AttributeType::Id];
        let more: &[AttributeType] = match class {
            ObjectClass::Certificate => &[AttributeType::Value],
            ObjectClass::PublicKey | ObjectClass::PrivateKey => &[
                AttributeType::KeyType,
                AttributeType::Modulus,
                AttributeType::PublicExponent,
                AttributeType::EcParams,
                AttributeType::EcPoint,
                AttributeType::PublicKeyInfo,
                AttributeType::AlwaysAuthenticate,
            ],
        };
        // One at a time: modules differ in what they return for the rest if one is missing.
        for wanted in always.iter().chain(more) {
            match self.session.get_attributes(handle, &[*wanted]) {
                Ok(found) => found.into_iter().for_each(|attribute| object.take(attribute)),
                Err(error) => match StepFailure::from(error) {
                    lost @ StepFailure::Lost(_) => return Err(lost),
                    StepFailure::Fault(_) => {}
                },
            }
        }
        Ok(object)
    }

    fn sign(
        &mut self,
        module: &Pkcs11,
        key: &KeyName,
        message: &[u8],
        login: &mut Login<'_>,
    ) -> Result<Vec<u8>, StepFailure> {
        let handle = self.handle(key)?;
        let digest = digest::digest(&digest::SHA256, message);
        if key.always_authenticate {
            return self.sign_with_consent(module, handle, key.kind, message, login);
        }
        match key.kind {
            // Not CKM_ECDSA_SHA256, which many modules lack.
            TokenKeyType::Ec => Ok(self.session.sign(&Mechanism::Ecdsa, handle, digest.as_ref())?),
            TokenKeyType::Rsa => match self.session.sign(&Mechanism::Sha256RsaPkcs, handle, message) {
                Err(CryptokiError::Pkcs11(RvError::MechanismInvalid, _)) => {
                    Ok(self.session.sign(&Mechanism::RsaPkcs, handle, &digest_info(digest.as_ref()))?)
                }
                signed => Ok(signed?),
            },
            TokenKeyType::Other => Err(ModuleFault::Mechanism("the key is neither RSA nor EC".into()).into()),
        }
    }

    /// `CKA_ALWAYS_AUTHENTICATE` needs the PIN again between `C_SignInit` and the signature. cryptoki's `sign` makes
    /// both calls, so this uses its multi-part functions.
    fn sign_with_consent(
        &self,
        module: &Pkcs11,
        handle: ObjectHandle,
        kind: TokenKeyType,
        message: &[u8],
        login: &mut Login<'_>,
    ) -> Result<Vec<u8>, StepFailure> {
        let digest = digest::digest(&digest::SHA256, message);
        let ways: &[(Mechanism<'_>, &[u8])] = match kind {
            TokenKeyType::Rsa => &[(Mechanism::Sha256RsaPkcs, message)],
            TokenKeyType::Ec => &[(Mechanism::EcdsaSha256, message), (Mechanism::Ecdsa, digest.as_ref())],
            TokenKeyType::Other => &[],
        };
        let token = module.get_token_info(slot(&self.place)?)?;
        for (mechanism, data) in ways {
            match self.session.sign_init(mechanism, handle) {
                Err(CryptokiError::Pkcs11(RvError::MechanismInvalid, _)) => continue,
                begun => begun?,
            }
            self.try_pin(UserType::ContextSpecific, &token, login)?;
            match self.session.sign_update(data) {
                // SoftHSM 2.6 returns this for ECDSA.
                Err(CryptokiError::Pkcs11(
                    RvError::OperationNotInitialized
                    | RvError::FunctionNotSupported
                    | RvError::MechanismInvalid,
                    _,
                )) => break,
                updated => updated?,
            }
            return Ok(self.session.sign_final()?);
        }
        Err(ModuleFault::Mechanism("the token can sign with this key only in a single call".into()).into())
    }

    fn handle(&mut self, key: &KeyName) -> Result<ObjectHandle, StepFailure> {
        if let Some(handle) = self.keys.get(key) {
            return Ok(*handle);
        }
        let mut template = vec![Attribute::Class(CryptokiClass::PRIVATE_KEY)];
        template.extend((!key.id.is_empty()).then(|| Attribute::Id(key.id.0.clone())));
        template.extend((!key.label.is_empty()).then(|| Attribute::Label(key.label.as_bytes().to_vec())));
        match key.kind {
            TokenKeyType::Rsa => template.push(Attribute::KeyType(KeyType::RSA)),
            TokenKeyType::Ec => template.push(Attribute::KeyType(KeyType::EC)),
            TokenKeyType::Other => {}
        }
        let found = self.session.find_objects(&template)?;
        let handle = *found.first().ok_or(ModuleFault::KeyGone)?;
        self.keys.insert(key.clone(), handle);
        Ok(handle)
    }
}

/// Checks that a wrong PIN would not lock the token (PKCS#11 3.1, 3.2: the flags of `CK_TOKEN_INFO`).
fn may_be_tried(token: &TokenInfo, careful: bool) -> Result<(), ModuleFault> {
    if token.user_pin_locked() {
        return Err(ModuleFault::PinLocked);
    }
    if token.user_pin_final_try() {
        return Err(ModuleFault::PinFinalTry);
    }
    if careful && token.user_pin_count_low() {
        return Err(ModuleFault::PinUncertain);
    }
    Ok(())
}

/// Vendors' own codes count as refusals: trying again could lock the token.
fn is_refusal(error: &CryptokiError) -> bool {
    matches!(
        error,
        CryptokiError::Pkcs11(
            RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::UserPinNotInitialized
                | RvError::VendorDefined(_),
            _
        )
    )
}

/// `DigestInfo` of SHA-256 (RFC 8017, 9.2, note 1), for tokens that only pad and sign.
fn digest_info(digest: &[u8]) -> Vec<u8> {
    const SHA256: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0x04, 0x20,
    ];
    [&SHA256, digest].concat()
}

impl Object {
    fn take(&mut self, attribute: Attribute) {
        match attribute {
            Attribute::Label(label) => self.label = String::from_utf8_lossy(&label).into_owned(),
            Attribute::Id(id) => self.id = Bytes(id),
            Attribute::Value(value) => self.value = Bytes(value),
            Attribute::KeyType(KeyType::RSA) => self.kind = Some(TokenKeyType::Rsa),
            Attribute::KeyType(KeyType::EC) => self.kind = Some(TokenKeyType::Ec),
            Attribute::KeyType(_) => self.kind = Some(TokenKeyType::Other),
            Attribute::Modulus(modulus) => self.modulus = Bytes(modulus),
            Attribute::PublicExponent(exponent) => self.exponent = Bytes(exponent),
            Attribute::EcParams(curve) => self.curve = Bytes(curve),
            Attribute::EcPoint(point) => self.point = Bytes(point),
            Attribute::PublicKeyInfo(info) => self.public_key_info = Bytes(info),
            Attribute::AlwaysAuthenticate(always) => self.always_authenticate = always,
            _ => {}
        }
    }
}
